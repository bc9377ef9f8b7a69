{{- /* What the Pods of a version are made of: of the first one in its Deployment, of each later one in the BlueGreen. */}}
{{- define "shop.pod" -}}
containers:
  {{- with .list }}
  - {{ . }}
  {{- end }}
  - name: shop
    image: {{ printf "%s:%s" .Values.image .Values.version | quote }}
    ports:
      - { name: http, containerPort: 8080 }
    readinessProbe:
      httpGet: { path: /health/ready, port: http }
    {{- with .Values.env }}
    env:
      {{- range $name, $value := . }}
      - { name: {{ $name }}, value: {{ $value | quote }} }
      {{- end }}
    {{- end }}
{{- with .Values.pod }}
{{ toYaml . }}
{{- end }}
{{- end }}
