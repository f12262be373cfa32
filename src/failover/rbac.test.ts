import { describe, expect, test } from 'vitest'
import { missingRule } from './rbac.ts'

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
