{{- define "roomfence.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "roomfence.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "roomfence.agentUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:roomfence
{{- end }}

{{- /* Helm makes these after the rest, in order of their weight, and takes them away when all of them are done. */}}
{{- define "roomfence.hook" -}}
{{- $root := index . 0 }}
{{- if not $root.Values.plainManifests }}
annotations:
  helm.sh/hook: post-install
  helm.sh/hook-weight: {{ index . 1 | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
{{- end }}
