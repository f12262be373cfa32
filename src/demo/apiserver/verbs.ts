/** The verbs of the Kubernetes REST API on one resource: from a parsed request to an answer, through the store. */
import { isAllowed, type User } from './authorize.ts'
import { asCoreEvent, asNewEvent } from './events.ts'
import { isJsonObject, isSame } from './freeze.ts'
import { serialized } from './json.ts'
import {
  callVirtualMachine,
  checkInstanceUpdate,
  refuseLauncherEviction,
  type VirtualMachineCall,
  withoutForeignStatus,
} from './kubevirt.ts'
import { jsonPatch, mergePatch, strategicMergePatch } from './patch.ts'
import type { Target } from './request.ts'
import { apiVersionOf, type Resource } from './resources.ts'
import { conformed, forbiddenChanges } from './schema.ts'
import { badRequest, invalid, noSuchResource, notFound, StoreError } from './status.ts'
import type { KubeObject, RemoveOptions, Snapshot, Store } from './store.ts'
import { check } from './validation.ts'

export interface Call {
  readonly target: Target
  readonly query: URLSearchParams
  readonly user: User
  readonly contentType: string
  readonly accept: string
  readonly bodyText: string
}

export interface Answer {
  readonly status: number
  readonly text: string
  readonly contentType?: string
}

const notAllowed = (): StoreError =>
  new StoreError(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {})

const json = (status: number, value: unknown): Answer => ({ status, text: JSON.stringify(value) })

function parsed(text: string): unknown {
  // What kubectl sends for typed commands, as `create configmap`: it begins so, and only a real API server reads it.
  if (text.startsWith('k8s\0')) {
    throw new StoreError(
      415,
      'UnsupportedMediaType',
      'the body of the request was in an unknown format - accepted media types include: application/json (this embedded API server reads no protobuf: use `kubectl create -f`)',
      {},
    )
  }
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    throw badRequest(`the object provided is unrecognized: it is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
}

/** @throws 422 for another value than `All`, as kube-apiserver words it for the options of this verb */
function isDryRun(values: readonly unknown[], optionsKind: string): boolean {
  if (values.some((value) => value !== 'All')) {
    const message = `Unsupported value: ${JSON.stringify(values)}: supported values: "All"`
    throw new StoreError(422, 'Invalid', `${optionsKind}.meta.k8s.io "" is invalid: dryRun: ${message}`, {
      group: 'meta.k8s.io',
      kind: optionsKind,
      causes: [{ reason: 'FieldValueNotSupported', message, field: 'dryRun' }],
    })
  }
  return values.length > 0
}

/** The object in a body, in its stored form, checked against the address it was sent to. */
function objectOf(resource: Resource, target: Target, body: unknown): KubeObject {
  if (!isJsonObject(body)) throw badRequest(`the object provided is unrecognized (must be of type ${resource.kind})`)
  const expected = target.group === '' ? target.version : `${target.group}/${target.version}`
  const { apiVersion, kind, metadata = {} } = body
  if (resource.isCustom && (kind === undefined || apiVersion === undefined)) {
    throw badRequest(`Object '${kind === undefined ? 'Kind' : 'apiVersion'}' is missing in '${JSON.stringify(body)}'`)
  }
  if (apiVersion !== undefined && apiVersion !== '' && apiVersion !== expected) {
    throw badRequest(`the API version in the data (${apiVersion as string}) does not match the expected API version (${expected})`)
  }
  if (kind !== undefined && kind !== '' && kind !== resource.kind) {
    throw badRequest(`${kind as string} in version "${target.version}" cannot be handled as a ${resource.kind}: the kind does not match`)
  }
  if (!isJsonObject(metadata)) throw badRequest('metadata must be an object')
  if (target.namespace !== undefined && resource.isNamespaced && metadata['namespace'] && metadata['namespace'] !== target.namespace) {
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request')
  }
  if (target.name !== undefined && metadata['name'] !== target.name) {
    if (metadata['name']) {
      throw badRequest(`the name of the object (${metadata['name'] as string}) does not match the name on the URL (${target.name})`)
    }
    throw badRequest('name must be provided')
  }
  const inForm = resource.plural === 'events' && target.group !== '' ? asCoreEvent(body) : body
  const kept = isJsonObject(resource.schema) ? (conformed(resource.schema, inForm, true) as Record<string, unknown>) : inForm
  const placed = resource.isNamespaced && target.namespace !== undefined ? { ...metadata, namespace: target.namespace } : metadata
  return { ...kept, apiVersion: apiVersionOf(resource), kind: resource.kind, metadata: placed } as unknown as KubeObject
}

/** The stored object, as the group it was asked in shows it. */
const shown = (target: Target, object: KubeObject): string =>
  target.plural === 'events' && target.group !== '' ? JSON.stringify(asNewEvent(object)) : serialized(object)

function checkNamespace(store: Store, resource: Resource, target: Target, name: string): void {
  if (!resource.isNamespaced || target.namespace === undefined) return
  const namespace = store.get('namespaces', undefined, target.namespace)
  const namespaces = store.resource('namespaces')
  if (namespace === undefined && namespaces !== undefined) throw notFound(namespaces, target.namespace)
  if (namespace?.metadata.deletionTimestamp === undefined) return
  const what = resource.group === '' ? resource.plural : `${resource.plural}.${resource.group}`
  throw new StoreError(
    403,
    'Forbidden',
    `${what} "${name}" is forbidden: unable to create new content in namespace ${target.namespace} because it is being terminated`,
    {
      name,
      ...(resource.group === '' ? {} : { group: resource.group }),
      kind: resource.plural,
      causes: [
        { reason: 'NamespaceTerminating', message: `namespace ${target.namespace} is being terminated`, field: 'metadata.namespace' },
      ],
    },
  )
}

function checkObject(resource: Resource, target: Target, object: KubeObject): void {
  const errors = check(resource, object, target.group)
  if (errors.length > 0) throw invalid(resource, object.metadata.name || '', errors)
}

function create(store: Store, resource: Resource, call: Call, body: unknown): Answer {
  const object = objectOf(resource, { ...call.target, name: undefined }, body)
  checkNamespace(store, resource, call.target, object.metadata.name || '')
  // What a client says of the status does not count, but of nodes: a kubelet registers with it.
  const { status: _status, ...withoutStatus } = object
  const draft = resource.plural === 'nodes' ? withNotReadyTaint(object) : resource.hasStatus ? withoutStatus : object
  if (object.metadata.name || object.metadata.generateName) checkObject(resource, call.target, draft)
  const created = store.create(resource.plural, draft, { isDryRun: isDryRun(call.query.getAll('dryRun'), 'CreateOptions') })
  return { status: 201, text: shown(call.target, created) }
}

/** Admission taints every new node until the node lifecycle controller has seen it ready. */
function withNotReadyTaint(node: KubeObject): KubeObject {
  const spec = isJsonObject(node['spec']) ? node['spec'] : {}
  const taints = Array.isArray(spec['taints']) ? (spec['taints'] as unknown[]) : []
  const taint = { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' }
  return taints.some((known) => isSame(known, taint)) ? node : { ...node, spec: { ...spec, taints: [...taints, taint] } }
}

function write(store: Store, resource: Resource, call: Call, next: KubeObject, previous: KubeObject, optionsKind: string): Answer {
  const { target } = call
  const subresource = target.subresource === 'status' ? 'status' : undefined
  const isInstance = resource.plural === 'virtualmachineinstances'
  if (isInstance) checkInstanceUpdate(next, previous, isSame)
  checkObject(resource, target, next)
  // Through `status` nothing but the status changes: what else a writer sends is not looked at.
  const changes = isJsonObject(resource.schema) && subresource === undefined ? forbiddenChanges(resource.schema, next, previous) : []
  if (changes.length > 0) throw invalid(resource, next.metadata.name, changes)
  const object = isInstance ? withoutForeignStatus(next, previous) : next
  const updated = store.update(resource.plural, object, subresource, { isDryRun: isDryRun(call.query.getAll('dryRun'), optionsKind) })
  return { status: 200, text: shown(target, updated) }
}

function update(store: Store, resource: Resource, call: Call, name: string): Answer {
  const { target } = call
  const body = parsed(call.bodyText)
  const object = objectOf(resource, target, body)
  const previous = store.get(resource.plural, target.namespace, name)
  if (previous === undefined) {
    if (!resource.createsOnUpdate || target.subresource !== undefined) throw notFound(resource, name)
    return create(store, resource, call, body)
  }
  if (!object.metadata.resourceVersion && !resource.acceptsBlindUpdate) {
    throw invalid(resource, name, [
      { reason: 'FieldValueInvalid', field: 'metadata.resourceVersion', message: 'Invalid value: 0: must be specified for an update' },
    ])
  }
  return write(store, resource, call, object, previous, 'UpdateOptions')
}

const patchTypes = ['application/json-patch+json', 'application/merge-patch+json', 'application/strategic-merge-patch+json']

function patched(resource: Resource, contentType: string, document: unknown, change: unknown): unknown {
  const type = contentType.split(';')[0]?.trim() ?? ''
  const accepted = resource.isCustom ? patchTypes.slice(0, 2) : patchTypes
  if (!accepted.includes(type)) {
    const message = patchTypes.includes(type)
      ? `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}, application/apply-patch+yaml`
      : '415: Unsupported Media Type'
    throw new StoreError(415, 'UnsupportedMediaType', message, {})
  }
  if (type === patchTypes[0]) return jsonPatch(document, change)
  if (!isJsonObject(change)) throw badRequest('error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}')
  return type === patchTypes[1] ? mergePatch(document, change) : strategicMergePatch(document, change)
}

function patch(store: Store, resource: Resource, call: Call, name: string): Answer {
  const { target } = call
  const previous = store.get(resource.plural, target.namespace, name)
  if (previous === undefined) throw notFound(resource, name)
  const document = target.plural === 'events' && target.group !== '' ? asNewEvent(previous) : previous
  const next = objectOf(resource, target, patched(resource, call.contentType, document, parsed(call.bodyText)))
  return write(store, resource, call, next, previous, 'PatchOptions')
}

/** Resources whose DELETE answers with the object; others' answers with a Status. */
const returnDeleted = [
  'pods',
  'serviceaccounts',
  'services',
  'persistentvolumes',
  'persistentvolumeclaims',
  'volumeattachments',
  'csinodes',
  'csidrivers',
  'storageclasses',
]

function remove(store: Store, resource: Resource, call: Call, name: string): Answer {
  const { target, query } = call
  const options = call.bodyText.trim() === '' ? {} : parsed(call.bodyText)
  if (!isJsonObject(options)) throw badRequest('the DeleteOptions must be an object')
  const preconditions = isJsonObject(options['preconditions']) ? options['preconditions'] : {}
  const { uid, resourceVersion } = preconditions
  const grace = options['gracePeriodSeconds'] ?? (query.has('gracePeriodSeconds') ? Number(query.get('gracePeriodSeconds')) : undefined)
  const policy = options['propagationPolicy'] ?? query.get('propagationPolicy') ?? undefined
  const dryRun = Array.isArray(options['dryRun']) ? (options['dryRun'] as unknown[]) : query.getAll('dryRun')
  const removal: RemoveOptions = {
    ...(typeof uid === 'string' ? { uid } : {}),
    ...(typeof resourceVersion === 'string' ? { resourceVersion } : {}),
    ...(typeof grace === 'number' ? { gracePeriodSeconds: grace } : {}),
    ...(policy === 'Background' || policy === 'Foreground' || policy === 'Orphan' ? { propagationPolicy: policy } : {}),
    isDryRun: isDryRun(dryRun, 'DeleteOptions'),
  }
  const left = store.remove(resource.plural, target.namespace, name, removal)
  if (left === undefined) throw notFound(resource, name)
  const isGone = removal.isDryRun || store.get(resource.plural, target.namespace, name) === undefined
  if (!isGone || returnDeleted.includes(resource.plural)) return { status: 200, text: shown(target, left) }
  return json(200, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: { name, ...(target.group === '' ? {} : { group: target.group }), kind: resource.plural, uid: left.metadata.uid },
  })
}

function bindPod(store: Store, pod: KubeObject, body: unknown): void {
  const node = isJsonObject(body) && isJsonObject(body['target']) ? body['target']['name'] : undefined
  const spec = isJsonObject(pod['spec']) ? pod['spec'] : {}
  if (typeof node !== 'string' || node === '') throw badRequest('target.name must name a node')
  if (spec['nodeName']) {
    throw new StoreError(
      409,
      'Conflict',
      `Operation cannot be fulfilled on pods/binding "${pod.metadata.name}": pod ${pod.metadata.name} is already assigned to node ${JSON.stringify(spec['nodeName'])}`,
      { name: pod.metadata.name, kind: 'pods/binding' },
    )
  }
  const bound = store.update('pods', { ...pod, spec: { ...spec, nodeName: node } })
  const status = isJsonObject(bound['status']) ? bound['status'] : {}
  const conditions = Array.isArray(status['conditions']) ? (status['conditions'] as unknown[]) : []
  const others = conditions.filter((condition) => !(isJsonObject(condition) && condition['type'] === 'PodScheduled'))
  const scheduled = {
    type: 'PodScheduled',
    status: 'True',
    lastProbeTime: null,
    lastTransitionTime: new Date().toISOString().replace(/\.\d+/, ''),
  }
  store.update('pods', { ...bound, status: { ...status, conditions: [...others, scheduled] } }, 'status')
}

/** POST to a pod's `binding` (what a scheduler does) and `eviction`. */
function createBelowPod(store: Store, resource: Resource, call: Call, name: string): Answer {
  const { namespace, subresource } = call.target
  const pod = store.get('pods', namespace, name)
  if (pod === undefined) throw notFound(resource, name)
  const body = parsed(call.bodyText)
  if (subresource === 'binding') bindPod(store, pod, body)
  else {
    refuseLauncherEviction(pod)
    const options = isJsonObject(body) && isJsonObject(body['deleteOptions']) ? body['deleteOptions'] : {}
    const grace = options['gracePeriodSeconds']
    store.remove('pods', namespace, name, typeof grace === 'number' ? { gracePeriodSeconds: grace } : {})
  }
  return json(201, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 })
}

const virtualMachineCalls = ['start', 'stop', 'restart']

/** `/apis/subresources.kubevirt.io/...`: served by virt-api, with manners of its own. */
export function answerVirtualMachine(store: Store, call: Call): Answer {
  const { target } = call
  const action = virtualMachineCalls.find((known) => known === target.subresource) as VirtualMachineCall | undefined
  if (target.plural !== 'virtualmachines' || action === undefined || target.namespace === undefined || target.name === undefined) {
    return { status: 404, text: '404: Page Not Found', contentType: 'text/plain' }
  }
  if (target.verb !== 'update') return { status: 405, text: '405: Method Not Allowed', contentType: 'text/plain' }
  // virt-api's routes declare no JSON answer: only a client that takes anything is served.
  if (call.accept !== '' && !call.accept.includes('*/*')) return { status: 406, text: '406: Not Acceptable', contentType: 'text/plain' }
  callVirtualMachine(store, action, target.namespace, target.name, call.bodyText.trim() === '' ? {} : parsed(call.bodyText))
  return { status: 202, text: '' }
}

/** `SelfSubjectAccessReview`: may the caller do this? (`kubectl auth can-i`) */
export function reviewAccess(store: Store, call: Call): Answer {
  const body = parsed(call.bodyText)
  const spec = isJsonObject(body) && isJsonObject(body['spec']) ? body['spec'] : {}
  const asked = isJsonObject(spec['resourceAttributes']) ? spec['resourceAttributes'] : {}
  const text = (field: string): string | undefined => (typeof asked[field] === 'string' && asked[field] !== '' ? asked[field] : undefined)
  const allowed = isAllowed(store, call.user, {
    verb: text('verb') ?? '',
    path: '',
    group: text('group') ?? '',
    plural: text('resource') ?? '',
    subresource: text('subresource'),
    namespace: text('namespace'),
    name: text('name'),
  })
  return json(201, { kind: 'SelfSubjectAccessReview', apiVersion: 'authorization.k8s.io/v1', metadata: {}, spec, status: { allowed } })
}

/** POST to a service account's `token`: the answer, around a token that the server has noted. */
export function tokenAnswer(token: string, nowMs: number): Answer {
  const expirationTimestamp = new Date(nowMs + 3_600_000).toISOString().replace(/\.\d+/, '')
  return json(201, {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: {},
    spec: { audiences: [], expirationSeconds: 3600 },
    status: { token, expirationTimestamp },
  })
}

/** Everything but lists and watches. @param frozen what reads show instead of the live store */
export function answer(store: Store, frozen: Snapshot | undefined, resource: Resource, call: Call): Answer {
  const { target } = call
  const { name, subresource } = target
  const isPodAction = resource.plural === 'pods' && (subresource === 'binding' || subresource === 'eviction')
  if (name === undefined) {
    if (target.verb !== 'create') throw notAllowed()
    return create(store, resource, call, parsed(call.bodyText))
  }
  if (isPodAction && target.verb === 'create') return createBelowPod(store, resource, call, name)
  const isFinalize = resource.plural === 'namespaces' && subresource === 'finalize' && target.verb === 'update'
  if (subresource !== undefined && !isFinalize && !(subresource === 'status' && resource.hasStatus)) throw noSuchResource()
  switch (target.verb) {
    case 'get': {
      const key = `${resource.isNamespaced ? (target.namespace ?? '') : ''}/${name}`
      const object =
        frozen === undefined ? store.get(resource.plural, target.namespace, name) : frozen.collections.get(resource.plural)?.get(key)
      if (object === undefined) throw notFound(resource, name)
      return { status: 200, text: shown(target, object) }
    }
    case 'update':
      return update(store, resource, call, name)
    case 'patch':
      return patch(store, resource, call, name)
    case 'delete':
      if (subresource !== undefined) throw notAllowed()
      return remove(store, resource, call, name)
    case 'create':
    case 'list':
    case 'watch':
    case 'deletecollection':
      break
  }
  throw notAllowed()
}
