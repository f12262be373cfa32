import { describe, expect, test } from 'vitest'
import { KubeError } from '../../kubernetes/errors.ts'
import { missingRule, refusalReason } from './rbac.ts'

describe('a missing right', () => {
  test.each([
    ['PATCH', '/api/v1/nodes/b1', 'apiGroups: [""], resources: ["nodes"], verbs: [patch]'],
    ['DELETE', '/api/v1/namespaces/apps/pods/web', 'apiGroups: [""], resources: ["pods"], verbs: [delete]'],
    ['GET', '/api/v1/pods?limit=100', 'apiGroups: [""], resources: ["pods"], verbs: [list, watch]'],
    [
      'PUT',
      '/apis/subresources.kubevirt.io/v1/namespaces/apps/virtualmachines/one/start',
      'apiGroups: ["subresources.kubevirt.io"], resources: ["virtualmachines/start"], verbs: [update]',
    ],
    ['PATCH', '/apis/roomfence.io/v1/fences/fence-7/status', 'apiGroups: ["roomfence.io"], resources: ["fences/status"], verbs: [patch]'],
  ])('of %s %s is named as a rule', (method, path, rule) => {
    expect(missingRule({ method, path })).toBe(rule)
  })
})

describe('a refusal', () => {
  const forbidden = (message: string): KubeError =>
    new KubeError('forbidden', message, { method: 'DELETE', path: '/api/v1/namespaces/apps/pods/web', status: 403, reason: 'Forbidden' })

  test('by RBAC names the rule', () => {
    const text =
      'pods "web" is forbidden: User "system:serviceaccount:roomfence:roomfence" cannot delete resource "pods" in API group "" in the namespace "apps"'
    expect(refusalReason(forbidden(text))).toBe('the ServiceAccount lacks a rule: apiGroups: [""], resources: ["pods"], verbs: [delete]')
  })

  test('by an admission webhook keeps the words of the webhook: no rule is missing', () => {
    const text = 'admission webhook "guard.example.org" denied the request: not on Fridays'
    expect(refusalReason(forbidden(text))).toBe(text)
  })
})
