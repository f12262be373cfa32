/** What the API server says of itself: `/version`, health, `/api` and `/apis`. */
import type { Resource } from './resources.ts'
import type { Store } from './store.ts'

/** The version that the stand-ins behave like, and that the contract tests compare with. */
const version = {
  major: '1',
  minor: '36',
  emulationMajor: '1',
  emulationMinor: '36',
  gitVersion: 'v1.36.2+roomfence-demo',
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '2026-01-01T00:00:00Z',
  goVersion: '',
  compiler: 'gc',
  platform: 'linux/amd64',
}

const allVerbs = ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch']

function entries(resource: Resource): Record<string, unknown>[] {
  const { plural, singular, kind, isNamespaced: namespaced, shortNames } = resource
  const own = {
    name: plural,
    singularName: singular,
    namespaced,
    kind,
    verbs: allVerbs,
    ...(shortNames.length === 0 ? {} : { shortNames }),
  }
  const below = (name: string, belowKind: string, verbs: readonly string[]): Record<string, unknown> => ({
    name: `${plural}/${name}`,
    singularName: '',
    namespaced,
    kind: belowKind,
    verbs,
  })
  const status = resource.hasStatus ? [below('status', kind, ['get', 'patch', 'update'])] : []
  const pod = plural === 'pods' ? [below('binding', 'Binding', ['create']), below('eviction', 'Eviction', ['create'])] : []
  return [own, ...status, ...pod]
}

const kubevirtCalls = ['start', 'stop', 'restart'].map((call) => ({
  name: `virtualmachines/${call}`,
  singularName: '',
  namespaced: true,
  kind: 'VirtualMachine',
  verbs: ['update'],
}))

const review = {
  name: 'selfsubjectaccessreviews',
  singularName: 'selfsubjectaccessreview',
  namespaced: false,
  kind: 'SelfSubjectAccessReview',
  verbs: ['create'],
}

const resourceList = (groupVersion: string, resources: readonly unknown[]): unknown => ({
  kind: 'APIResourceList',
  apiVersion: 'v1',
  groupVersion,
  resources,
})

function groups(store: Store): Map<string, { version: string; resources: unknown[] }> {
  const known = new Map<string, { version: string; resources: unknown[] }>()
  const add = (group: string, groupVersion: string, resources: readonly unknown[]): void => {
    const { resources: before } = known.get(group) ?? { resources: [] }
    known.set(group, { version: groupVersion, resources: [...before, ...resources] })
  }
  for (const resource of store.resources()) add(resource.group, resource.version, entries(resource))
  const events = store.resource('events')
  if (events !== undefined) add('events.k8s.io', 'v1', entries(events))
  add('authorization.k8s.io', 'v1', [review])
  add('subresources.kubevirt.io', 'v1', kubevirtCalls)
  return known
}

function groupOf(name: string, groupVersion: string): Record<string, unknown> {
  const entry = { groupVersion: `${name}/${groupVersion}`, version: groupVersion }
  return { name, versions: [entry], preferredVersion: entry }
}

/** @returns the answer to a GET of a path that is no resource: an object, a text, or undefined if there is none */
export function describe(store: Store, path: string): unknown {
  const [root, group, groupVersion, ...more] = path.split('/').filter((step) => step !== '')
  if (more.length > 0) return undefined
  if (root === 'version' && group === undefined) return version
  if (root !== undefined && ['healthz', 'livez', 'readyz'].includes(root)) return 'ok'
  const known = groups(store)
  if (root === 'api') {
    if (group === undefined) return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] }
    return group === 'v1' && groupVersion === undefined ? resourceList('v1', known.get('')?.resources ?? []) : undefined
  }
  if (root !== 'apis') return undefined
  if (group === undefined) {
    const named = [...known].filter(([name]) => name !== '')
    return { kind: 'APIGroupList', apiVersion: 'v1', groups: named.map(([name, entry]) => groupOf(name, entry.version)) }
  }
  const entry = known.get(group)
  if (entry === undefined) return undefined
  if (groupVersion === undefined) return { kind: 'APIGroup', apiVersion: 'v1', ...groupOf(group, entry.version) }
  return groupVersion === entry.version ? resourceList(`${group}/${groupVersion}`, entry.resources) : undefined
}
