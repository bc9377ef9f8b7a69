{{/* The name of the objects. */}}
{{- define "cutover.name" -}}
{{- if contains "cutover" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-cutover" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Objects of the cluster have no namespace: the name has it, so that two releases do not take the same. */}}
{{- define "cutover.clusterName" -}}
{{- printf "%s:%s" (include "cutover.name" .) .Release.Namespace -}}
{{- end -}}

{{- define "cutover.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "cutover.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed with serviceAccount.create=false: the ServiceAccount that the operator uses" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "cutover.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cutover.selector" -}}
app.kubernetes.io/name: cutover
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "cutover.labels" -}}
{{ include "cutover.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}
