{{- define "roomfence.isAgent" -}}
- name: is-an-agent
  expression: request.userInfo.username == '{{ include "roomfence.agentUser" . }}'
{{- end }}

{{- /* Tokens of pods name their node since Kubernetes 1.30. A token that somebody asked for by hand does not. */}}
{{- define "roomfence.ownNode" -}}
# The node that the token is bound to, by Kubernetes. Empty for a token that is bound to no pod: agents have none such.
- name: ownNode
  expression: >-
    has(request.userInfo.extra) && 'authentication.kubernetes.io/node-name' in request.userInfo.extra
    ? request.userInfo.extra['authentication.kubernetes.io/node-name'][0] : ''
{{- end }}

{{- define "roomfence.changedAnnotations" -}}
- name: changed
  expression: >-
    (variables.before.map(key, key) + variables.after.filter(key, !(key in variables.before)))
    .filter(key, key.startsWith('roomfence.io/') && variables.before[?key] != variables.after[?key])
{{- end }}

{{- define "roomfence.confirmation" -}}
- name: isConfirmed
  expression: "'roomfence.io/confirm-dead' in variables.changed && 'roomfence.io/confirm-dead' in variables.after"
- name: isOneConfirmation
  expression: >-
    variables.after['roomfence.io/confirm-dead'].matches('^(fence|epoch)-[0-9]+,[^\\s,]+$')
    && !variables.after['roomfence.io/confirm-dead'].matches(',(fence|epoch)-[0-9]+$')
{{- end }}

{{- define "roomfence.isOurTaint" -}}
taint.key == 'roomfence.io/fenced' || (taint.key == 'node.kubernetes.io/out-of-service' && taint.?value.orValue('') == 'roomfence')
{{- end }}

{{- define "roomfence.policyBinding" -}}
{{- $root := index . 0 -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ index . 1 }}
  labels:
    app.kubernetes.io/name: roomfence
spec:
  policyName: {{ index . 1 }}
  validationActions: [{{ $root.Values.admissionPolicies.action }}]
{{- end }}
