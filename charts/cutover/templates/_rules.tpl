{{/*
What the operator may do where BlueGreens are, out of files/rules.yaml.
*/}}
{{- define "cutover.rules" -}}
{{- $all := .Files.Get "files/rules.yaml" | fromYaml -}}
{{- $rules := $all.always -}}
{{- if .Values.migrations -}}
{{- $rules = concat $rules $all.migrations -}}
{{- end -}}
{{- range $edge := list "ingressCanary" "gateway" "argoRollouts" -}}
{{- if index $.Values.edges $edge -}}
{{- $rules = concat $rules (index $all $edge) -}}
{{- end -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}
