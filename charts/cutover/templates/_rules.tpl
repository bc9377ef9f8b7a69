{{/*
What the operator may do where BlueGreens are. A test compares these rules with what it does: none is missing, none is too much.
*/}}
{{- define "cutover.rules" -}}
# The resource: finalizer and annotations, and the status, which is the journal.
- apiGroups: [cutover.dev]
  resources: [bluegreens]
  verbs: [get, list, watch, patch]
- apiGroups: [cutover.dev]
  resources: [bluegreens/status]
  verbs: [patch]
# The slots: the Service that users reach gets another selector, Deployments get a template and a size.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, patch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list]
# What it says, and what Pods complain of.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- if .Values.migrations }}
# Migrations and hooks.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- end }}
{{- if .Values.edges.ingressCanary }}
# The edge ingressCanary: a canary Ingress while there are shares.
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, create, update, delete]
{{- end }}
{{- if .Values.edges.gateway }}
# The edge gateway: weights of HTTPRoutes.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, patch]
{{- end }}
{{- if .Values.edges.argoRollouts }}
# The edge argoRollouts: a Rollout gets a template, and its controller is told to promote it.
- apiGroups: [argoproj.io]
  resources: [rollouts]
  verbs: [get, patch]
- apiGroups: [argoproj.io]
  resources: [rollouts/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end }}
{{- end -}}
