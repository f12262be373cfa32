/** The rights that failover uses, each and no more: deploy/ is checked against this list, and a 403 is explained with it. */
import type { KubeError } from '../../kubernetes/errors.ts'

export interface RbacRule {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}

export const rbacRules: readonly RbacRule[] = [
  { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch', 'patch'] },
  { apiGroups: [''], resources: ['pods'], verbs: ['list', 'watch', 'patch', 'delete'] },
  { apiGroups: [''], resources: ['pods/status'], verbs: ['patch'] },
  { apiGroups: [''], resources: ['persistentvolumes'], verbs: ['list', 'watch'] },
  { apiGroups: ['storage.k8s.io'], resources: ['volumeattachments'], verbs: ['list', 'watch'] },
  { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'list', 'patch'] },
  { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create'] },
  { apiGroups: ['kubevirt.io'], resources: ['virtualmachines'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: ['kubevirt.io'], resources: ['virtualmachines/status'], verbs: ['patch'] },
  { apiGroups: ['kubevirt.io'], resources: ['virtualmachineinstances'], verbs: ['get', 'list', 'watch', 'patch', 'delete'] },
  { apiGroups: ['subresources.kubevirt.io'], resources: ['virtualmachines/start'], verbs: ['update'] },
  { apiGroups: ['roomfence.io'], resources: ['fences'], verbs: ['get', 'list', 'create'] },
  { apiGroups: ['roomfence.io'], resources: ['fences/status'], verbs: ['patch'] },
]

const verbOf: { readonly [method: string]: string } = {
  GET: 'get',
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
  WATCH: 'list, watch',
}

/**
 * Why a call was refused, for people. A 403 is RBAC's, and then the missing rule is named; or an admission plugin's or webhook's, whose own words say why.
 *
 * RBAC's text is that of k8s.io/apiserver, `User "x" cannot patch resource "nodes" in API group ""`.
 */
export function refusalReason(error: Pick<KubeError, 'code' | 'method' | 'path' | 'message'>): string {
  if (error.code !== 'forbidden' || !/ cannot \w+ (?:resource|path) /.test(error.message)) return error.message
  return `the ServiceAccount lacks a rule: ${missingRule(error)}`
}

/** What a 403 lacks, in the words of a ClusterRole. */
export function missingRule(error: Pick<KubeError, 'method' | 'path'>): string {
  const parts = (error.path.split('?')[0] ?? '').split('/').filter((part) => part !== '')
  const group = parts[0] === 'api' ? '' : (parts[1] ?? '')
  const rest = parts.slice(parts[0] === 'api' ? 2 : 3)
  const inside = rest[0] === 'namespaces' && rest.length > 2 ? rest.slice(2) : rest
  const [resource = '', name, subresource] = inside
  const verb = error.method === 'GET' && name === undefined ? 'list, watch' : (verbOf[error.method] ?? error.method.toLowerCase())
  return `apiGroups: ["${group}"], resources: ["${resource}${subresource === undefined ? '' : `/${subresource}`}"], verbs: [${verb}]`
}
