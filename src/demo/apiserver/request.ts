/** Requests of the Kubernetes REST API: what a method, path and query ask for. Pure. */
import type { Attempt } from './authorize.ts'
import type { Resource } from './resources.ts'
import { badRequest } from './status.ts'
import type { Store } from './store.ts'

/** A request about one resource, as far as its path and query tell. */
export interface Target {
  readonly verb: 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection'
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly namespace: string | undefined
  readonly name: string | undefined
  readonly subresource: string | undefined
}

/** Subresources of a namespace itself; any other third step is a resource in the namespace. */
const namespaceSubresources = ['status', 'finalize']

function verbOf(method: string, isNamed: boolean, query: URLSearchParams): Target['verb'] | undefined {
  switch (method) {
    case 'GET':
      if (isNamed) return 'get'
      return ['1', 'true'].includes(query.get('watch') ?? '') ? 'watch' : 'list'
    case 'POST':
      return 'create'
    case 'PUT':
      return 'update'
    case 'PATCH':
      return 'patch'
    case 'DELETE':
      return isNamed ? 'delete' : 'deletecollection'
    default:
      return undefined
  }
}

/** @returns undefined for a path that names no resource, such as `/apis/apps/v1` or `/healthz` */
export function targetOf(method: string, path: string, query: URLSearchParams): Target | undefined {
  const [root, ...steps] = path
    .split('/')
    .filter((step) => step !== '')
    .map(decodeURIComponent)
  const [group = '', version = '', ...rest] = root === 'api' ? ['', ...steps] : root === 'apis' ? steps : []
  const isInNamespace = rest[0] === 'namespaces' && rest.length > 2 && !namespaceSubresources.includes(rest[2] ?? '')
  const [plural, name, ...sub] = isInNamespace ? rest.slice(2) : rest
  const verb = verbOf(method, name !== undefined, query)
  if (plural === undefined || version === '' || verb === undefined) return undefined
  // As kube-apiserver sees it, a namespace is in itself.
  const namespace = isInNamespace ? rest[1] : plural === 'namespaces' && group === '' ? name : undefined
  return { verb, group, version, plural, namespace, name, subresource: sub.length === 0 ? undefined : sub.join('/') }
}

/** The resource a target names, if it is served. Events are one resource with two groups. */
export function resourceOf(store: Store, target: Target): Resource | undefined {
  const resource = store.resource(target.plural)
  if (resource === undefined) return undefined
  const isEventsGroup = target.plural === 'events' && target.group === 'events.k8s.io' && target.version === 'v1'
  if (!isEventsGroup && (resource.group !== target.group || resource.version !== target.version)) return undefined
  const isScopeRight = resource.isNamespaced
    ? target.namespace !== undefined || (target.name === undefined && target.verb !== 'create')
    : target.namespace === undefined || target.plural === 'namespaces'
  return isScopeRight ? resource : undefined
}

export function attemptOf(method: string, path: string, target: Target | undefined): Attempt {
  if (target === undefined) {
    return { verb: method.toLowerCase(), path, group: '', plural: undefined, subresource: undefined, namespace: undefined, name: undefined }
  }
  const { verb, group, plural, subresource, namespace, name } = target
  return { verb, path, group, plural, subresource, namespace, name }
}

const unitsMs: { readonly [unit: string]: number } = { ns: 1e-6, us: 1e-3, ms: 1, s: 1_000, m: 60_000 }

/** How long the caller lets the server take over a request (`timeout`, a duration of Go with one unit); Infinity where it says nothing. */
export function timeoutMsOf(query: URLSearchParams): number {
  const text = query.get('timeout')
  if (text === null || text === '') return Infinity
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(ns|us|ms|s|m)$/.exec(text) ?? []
  if (amount === undefined || unit === undefined) throw badRequest(`invalid timeout specified in the request URL: "${text}"`)
  return Number(amount) * (unitsMs[unit] ?? Infinity)
}
