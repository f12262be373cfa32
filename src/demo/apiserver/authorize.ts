/** Who may do what: the roles and bindings in the store, read as kube-apiserver's RBAC authorizer reads them. */
import { isJsonObject } from './freeze.ts'
import { StoreError } from './status.ts'
import type { KubeObject, Store } from './store.ts'

export interface User {
  readonly name: string
  readonly groups: readonly string[]
}

/** What a request wants to do; `plural` undefined for paths that are no resource, such as `/healthz`. */
export interface Attempt {
  readonly verb: string
  readonly path: string
  readonly group: string
  readonly plural: string | undefined
  readonly subresource: string | undefined
  readonly namespace: string | undefined
  readonly name: string | undefined
}

interface Rule {
  readonly verbs: readonly string[]
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly resourceNames: readonly string[]
  readonly nonResourceURLs: readonly string[]
}

const strings = (value: unknown): string[] => (Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [])
const records = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value.filter(isJsonObject) : [])

const ruleOf = (rule: Record<string, unknown>): Rule => ({
  verbs: strings(rule['verbs']),
  apiGroups: strings(rule['apiGroups']),
  resources: strings(rule['resources']),
  resourceNames: strings(rule['resourceNames']),
  nonResourceURLs: strings(rule['nonResourceURLs']),
})

/** Kubernetes' default cluster roles system:public-info-viewer (everyone) and system:discovery (everyone known). */
const openToAll = ['/healthz', '/livez', '/readyz', '/version', '/version/']
const openToKnown = ['/api', '/api/*', '/apis', '/apis/*', '/openapi', '/openapi/*']

const matchesPath = (pattern: string, path: string): boolean =>
  pattern === '*' || pattern === path || (pattern.endsWith('*') && path.startsWith(pattern.slice(0, -1)))

function allows(rule: Rule, attempt: Attempt): boolean {
  const has = (list: readonly string[], value: string): boolean => list.includes('*') || list.includes(value)
  if (!has(rule.verbs, attempt.verb)) return false
  if (attempt.plural === undefined) return rule.nonResourceURLs.some((pattern) => matchesPath(pattern, attempt.path))
  const { plural, subresource } = attempt
  const resource = subresource === undefined ? plural : `${plural}/${subresource}`
  const isCovered = has(rule.resources, resource) || (subresource !== undefined && rule.resources.includes(`*/${subresource}`))
  const isNamed = rule.resourceNames.length === 0 || (attempt.name !== undefined && rule.resourceNames.includes(attempt.name))
  return has(rule.apiGroups, attempt.group) && isCovered && isNamed
}

function isSubject(subject: Record<string, unknown>, user: User, bindingNamespace: string | undefined): boolean {
  const { kind, name, namespace } = subject
  if (kind === 'User') return name === user.name
  if (kind === 'Group') return typeof name === 'string' && user.groups.includes(name)
  const home = typeof namespace === 'string' ? namespace : bindingNamespace
  return kind === 'ServiceAccount' && typeof name === 'string' && user.name === `system:serviceaccount:${home}:${name}`
}

function rulesBehind(store: Store, binding: KubeObject): readonly Rule[] {
  const reference = isJsonObject(binding['roleRef']) ? binding['roleRef'] : {}
  const name = String(reference['name'])
  const role =
    reference['kind'] === 'ClusterRole' ? store.get('clusterroles', undefined, name) : store.get('roles', binding.metadata.namespace, name)
  return records(role?.['rules']).map(ruleOf)
}

export function isAllowed(store: Store, user: User, attempt: Attempt): boolean {
  if (user.groups.includes('system:masters')) return true
  if (attempt.plural === undefined && attempt.verb === 'get') {
    const isKnown = user.groups.includes('system:authenticated')
    if ([...openToAll, ...(isKnown ? openToKnown : [])].some((pattern) => matchesPath(pattern, attempt.path))) return true
  }
  const bindings = [
    ...store.list('clusterrolebindings'),
    ...(attempt.plural === undefined || attempt.namespace === undefined ? [] : store.list('rolebindings', attempt.namespace)),
  ]
  return bindings.some(
    (binding) =>
      records(binding['subjects']).some((subject) => isSubject(subject, user, binding.metadata.namespace)) &&
      rulesBehind(store, binding).some((rule) => allows(rule, attempt)),
  )
}

export function forbidden(user: User, attempt: Attempt): StoreError {
  if (attempt.plural === undefined) {
    return new StoreError(403, 'Forbidden', `forbidden: User "${user.name}" cannot ${attempt.verb} path "${attempt.path}"`, {})
  }
  const resource = attempt.subresource === undefined ? attempt.plural : `${attempt.plural}/${attempt.subresource}`
  const scope = attempt.namespace === undefined ? 'at the cluster scope' : `in the namespace "${attempt.namespace}"`
  const what = `${attempt.plural}${attempt.group === '' ? '' : `.${attempt.group}`}${attempt.name === undefined ? '' : ` "${attempt.name}"`}`
  return new StoreError(
    403,
    'Forbidden',
    `${what} is forbidden: User "${user.name}" cannot ${attempt.verb} resource "${resource}" in API group "${attempt.group}" ${scope}`,
    {
      ...(attempt.name === undefined ? {} : { name: attempt.name }),
      ...(attempt.group === '' ? {} : { group: attempt.group }),
      kind: attempt.plural,
    },
  )
}
