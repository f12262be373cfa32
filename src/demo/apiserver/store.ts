/**
 * The store behind the embedded API server: objects in memory with Kubernetes' rules of versions, deletion, finalizers and status.
 * The cluster's stand-ins work on it directly, everything else through the REST server; both see the same rules.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { withDefaults } from './defaults.ts'
import { checkPreconditions, finalizersAfter, isDone, type RemovalRules, timestamp, withDeletion } from './deletion.ts'
import { frozenCopy, isJsonObject, isSame, withoutEmpty } from './freeze.ts'
import { createHistory, type History } from './history.ts'
import type { KubeObject, ObjectMeta, StoreChange } from './objects.ts'
import { apiVersionOf, builtInResources, type Resource } from './resources.ts'
import { alreadyExists, badRequest, conflict, invalid, noSuchResource, notFound, staleVersion, StoreError } from './status.ts'

export type { KubeObject, StoreChange } from './objects.ts'

export { StoreError }

interface WriteOptions {
  /** Do everything but store the outcome. */
  readonly isDryRun?: boolean
}

export type RemoveOptions = RemovalRules & WriteOptions

/** A state of the whole store. Objects are immutable, so it costs a map of references. */
export interface Snapshot {
  readonly version: number
  readonly collections: ReadonlyMap<string, ReadonlyMap<string, KubeObject>>
}

/**
 * Objects handed out are deeply frozen: to change one, copy it (`structuredClone`, spread), change the copy, `update`.
 * Every call that fails throws a {@link StoreError} with kube-apiserver's code, reason and text.
 */
export interface Store {
  /** @param plural e.g. `pods`; @param namespace undefined for cluster-wide resources */
  get(plural: string, namespace: string | undefined, name: string): KubeObject | undefined
  /** Sorted by namespace and name. */
  list(plural: string, namespace?: string): readonly KubeObject[]
  /** A status that is given is kept (over REST it is not). Fills apiVersion, kind, name (from generateName), uid, version, creation time and defaults. 409 `AlreadyExists`. */
  create(plural: string, object: unknown, options?: WriteOptions): KubeObject
  /** 409 `Conflict` if `metadata.resourceVersion` or `metadata.uid` is given and stale; 404. `status` writes the status only. */
  update(plural: string, object: unknown, subresource?: 'status', options?: WriteOptions): KubeObject
  /** As the REST DELETE. Returns the object as it is left, or undefined if there was none. 409 if a precondition fails. */
  remove(plural: string, namespace: string | undefined, name: string, options?: RemoveOptions): KubeObject | undefined
  /** Called after each change, in order; a change made by a listener is told once all listeners know the one before. */
  onChange(listener: (change: StoreChange) => void): () => void
  resource(plural: string): Resource | undefined
  resources(): readonly Resource[]
  /** Serves a custom resource (done for every CustomResourceDefinition), or serves it no longer. */
  defineResource(resource: Resource): void
  dropResource(plural: string): void
  readonly history: History
  version(): number
  snapshot(): Snapshot
  /** As `snapshot`, of one resource only and without copying: valid until the next write. */
  snapshotOf(plural: string): Snapshot
  /** Puts an older state back, as a restored etcd backup does: versions run back too. Listeners are told the differences. */
  rollback(snapshot: Snapshot): void
}

const keyOf = (namespace: string | undefined, name: string): string => `${namespace ?? ''}/${name}`

const generatedSuffix = (): string => [...randomBytes(5)].map((byte) => 'bcdfghjklmnpqrstvwxz2456789'[byte % 27]).join('')

/** Everything of an object whose change bumps `metadata.generation`. */
function generationRelevant(resource: Resource, object: KubeObject): unknown {
  const { metadata: _metadata, status: _status, apiVersion: _apiVersion, kind: _kind, ...rest } = object
  return resource.isCustom && !resource.hasStatus ? { ...rest, status: object['status'] } : rest
}

/** @param nowMs wall clock, ms since 1970; only for timestamps */
export function createStore(nowMs: () => number = Date.now): Store {
  const table = new Map(builtInResources.map((resource) => [resource.plural, resource]))
  const collections = new Map<string, Map<string, KubeObject>>()
  const listeners = new Set<(change: StoreChange) => void>()
  const untold: StoreChange[] = []
  const history = createHistory()
  let version = 1
  let isTelling = false

  const resourceOf = (plural: string): Resource => {
    const resource = table.get(plural)
    if (resource === undefined) throw noSuchResource()
    return resource
  }
  const collectionOf = (plural: string): Map<string, KubeObject> => {
    const known = collections.get(plural)
    if (known !== undefined) return known
    const created = new Map<string, KubeObject>()
    collections.set(plural, created)
    return created
  }

  const priorityOf = (className: string): number | undefined => {
    const value = collectionOf('priorityclasses').get(keyOf(undefined, className))?.['value']
    return typeof value === 'number' ? value : undefined
  }

  function tell(change: StoreChange): void {
    untold.push(change)
    if (isTelling) return
    isTelling = true
    try {
      for (let next = untold.shift(); next !== undefined; next = untold.shift()) for (const listener of listeners) listener(next)
    } finally {
      isTelling = false
    }
  }

  function commit(resource: Resource, draft: KubeObject, previous: KubeObject | undefined, options: WriteOptions): KubeObject {
    if (options.isDryRun) return frozenCopy(draft)
    version += 1
    const object: KubeObject = frozenCopy({ ...draft, metadata: { ...draft.metadata, resourceVersion: String(version) } })
    collectionOf(resource.plural).set(keyOf(object.metadata.namespace, object.metadata.name), object)
    const type = previous === undefined ? 'ADDED' : 'MODIFIED'
    const change: StoreChange =
      previous === undefined ? { type, plural: resource.plural, object } : { type, plural: resource.plural, object, previous }
    history.record(version, change)
    tell(change)
    return object
  }

  function erase(resource: Resource, previous: KubeObject, options: WriteOptions): KubeObject {
    if (options.isDryRun) return previous
    version += 1
    const object: KubeObject = frozenCopy({ ...previous, metadata: { ...previous.metadata, resourceVersion: String(version) } })
    collectionOf(resource.plural).delete(keyOf(previous.metadata.namespace, previous.metadata.name))
    const change: StoreChange = { type: 'DELETED', plural: resource.plural, object, previous }
    history.record(version, change)
    tell(change)
    return object
  }

  function create(plural: string, input: unknown, options: WriteOptions = {}): KubeObject {
    const resource = resourceOf(plural)
    const object = asObject(resource, input)
    const metadata: Partial<ObjectMeta> = object.metadata
    const name = metadata.name || (metadata.generateName ? `${metadata.generateName}${generatedSuffix()}` : '')
    if (name === '') {
      throw invalid(resource, '', [
        { reason: 'FieldValueRequired', field: 'metadata.name', message: 'Required value: name or generateName is required' },
      ])
    }
    if (metadata.resourceVersion) {
      throw new StoreError(500, '', 'resourceVersion should not be set on objects to be created')
    }
    const namespace = resource.isNamespaced ? (metadata.namespace ?? 'default') : undefined
    if (collectionOf(plural).has(keyOf(namespace, name))) throw alreadyExists(resource, name)
    const {
      namespace: _namespace,
      generation: _generation,
      deletionTimestamp: _deleted,
      deletionGracePeriodSeconds: _grace,
      ...kept
    } = metadata
    const named = {
      ...object,
      metadata: {
        ...kept,
        name,
        ...(namespace === undefined ? {} : { namespace }),
        uid: randomUUID(),
        resourceVersion: '',
        creationTimestamp: timestamp(nowMs()),
        ...(resource.hasGeneration ? { generation: 1 } : {}),
      },
    }
    const draft = withDefaults(resource, named, priorityOf)
    return commit(resource, draft, undefined, options)
  }

  function update(plural: string, input: unknown, subresource?: 'status', options: WriteOptions = {}): KubeObject {
    const resource = resourceOf(plural)
    const object = asObject(resource, input)
    const { name } = object.metadata
    const namespace = resource.isNamespaced ? (object.metadata.namespace ?? 'default') : undefined
    const previous = collectionOf(plural).get(keyOf(namespace, name))
    if (previous === undefined) throw notFound(resource, name)
    if (object.metadata.uid && object.metadata.uid !== previous.metadata.uid) {
      throw conflict(
        resource,
        name,
        `Precondition failed: UID in precondition: ${object.metadata.uid}, UID in object meta: ${previous.metadata.uid}`,
      )
    }
    if (object.metadata.resourceVersion && object.metadata.resourceVersion !== previous.metadata.resourceVersion)
      throw staleVersion(resource, name)
    const draft = merged(resource, previous, object, subresource)
    if (isSame(draft, previous)) return previous
    if (draft.metadata.deletionTimestamp !== undefined && isDone(draft)) return erase(resource, frozenCopy(draft), options)
    return commit(resource, draft, previous, options)
  }

  function remove(plural: string, namespace: string | undefined, name: string, options: RemoveOptions = {}): KubeObject | undefined {
    const resource = resourceOf(plural)
    const previous = collectionOf(plural).get(keyOf(resource.isNamespaced ? (namespace ?? 'default') : undefined, name))
    if (previous === undefined) return undefined
    checkPreconditions(resource, previous, options)
    const finalizers = finalizersAfter(resource, previous, options)
    const marked = withDeletion(resource, previous, finalizers, options, nowMs())
    if (plural !== 'pods' && isDone(marked)) return erase(resource, previous, options)
    // A pod is marked before it is erased even with grace 0: watchers see MODIFIED, then DELETED.
    const current = isSame(marked, previous) ? previous : commit(resource, marked, previous, options)
    return isDone(marked) ? erase(resource, current, options) : current
  }

  const store: Store = {
    get: (plural, namespace, name) => collectionOf(plural).get(keyOf(resourceOf(plural).isNamespaced ? namespace : undefined, name)),
    list(plural, namespace) {
      resourceOf(plural)
      return sorted(collectionOf(plural), namespace)
    },
    create,
    update,
    remove,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    resource: (plural) => table.get(plural),
    resources: () => [...table.values()],
    defineResource: (resource) => void table.set(resource.plural, resource),
    dropResource(plural) {
      table.delete(plural)
      collections.delete(plural)
    },
    history,
    version: () => version,
    snapshot: () => ({ version, collections: new Map([...collections].map(([plural, objects]) => [plural, new Map(objects)])) }),
    snapshotOf: (plural) => ({ version, collections: new Map([[plural, collectionOf(plural)]]) }),
    rollback(snapshot) {
      const before = new Map([...collections].map(([plural, objects]) => [plural, new Map(objects)]))
      collections.clear()
      for (const [plural, objects] of snapshot.collections) collections.set(plural, new Map(objects))
      version = snapshot.version
      history.forget(version)
      for (const change of differences(before, collections)) tell(change)
    },
  }
  for (const name of ['default', 'kube-system', 'kube-public', 'kube-node-lease']) store.create('namespaces', { metadata: { name } })
  return store
}

/** @param objects one collection; @returns those of the namespace (undefined: all), sorted as etcd sorts keys */
export function sorted(objects: ReadonlyMap<string, KubeObject>, namespace?: string): KubeObject[] {
  const prefix = namespace === undefined ? '' : `${namespace}/`
  return [...objects]
    .filter(([key]) => key.startsWith(prefix))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, object]) => object)
}

/** The caller's object, typed and without the empty fields that Kubernetes leaves out. */
function asObject(resource: Resource, input: unknown): KubeObject {
  if (!isJsonObject(input)) throw badRequest(`the body must be a JSON object, seen ${input === null ? 'null' : typeof input}`)
  const { metadata = {}, spec } = input
  if (!isJsonObject(metadata)) throw badRequest(`metadata must be a JSON object, seen ${typeof metadata}`)
  return {
    ...input,
    ...(resource.plural === 'nodes' && isJsonObject(spec) ? { spec: withoutEmpty(spec, ['taints']) } : {}),
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    metadata: withoutEmpty(metadata, ['labels', 'annotations', 'finalizers', 'ownerReferences']) as unknown as ObjectMeta,
  }
}

/** What an update leaves: the new state without what the writer may not change. */
function merged(resource: Resource, previous: KubeObject, next: KubeObject, subresource: 'status' | undefined): KubeObject {
  const was = previous.metadata
  const metadata: ObjectMeta = subresource === 'status' && resource.isCustom ? { ...was } : { ...next.metadata }
  for (const field of [
    'uid',
    'resourceVersion',
    'creationTimestamp',
    'generation',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'generateName',
  ] as const) {
    if (was[field] === undefined) delete metadata[field]
    else Object.assign(metadata, { [field]: was[field] })
  }
  metadata.name = was.name
  if (was.namespace !== undefined) metadata.namespace = was.namespace
  if (subresource === 'status') {
    // A pod's status writer may not touch owners or finalizers either; others' strategies let them through.
    const { status: _status, ...rest } = previous
    return { ...rest, ...(next['status'] === undefined ? {} : { status: next['status'] }), metadata }
  }
  if (was.deletionTimestamp !== undefined) {
    const added = (metadata.finalizers ?? []).filter((finalizer) => !(was.finalizers ?? []).includes(finalizer))
    if (added.length > 0) {
      throw invalid(resource, was.name, [
        {
          reason: 'FieldValueForbidden',
          field: 'metadata.finalizers',
          message: `Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{${added.map((name) => JSON.stringify(name)).join(', ')}}`,
        },
      ])
    }
  }
  const { status, ...rest } = next
  const keptStatus = resource.hasStatus ? previous['status'] : status
  const object = { ...rest, ...(keptStatus === undefined ? {} : { status: keptStatus }), metadata } as KubeObject
  if (was.generation === undefined || isSame(generationRelevant(resource, object), generationRelevant(resource, previous))) return object
  return { ...object, metadata: { ...metadata, generation: was.generation + 1 } }
}

function differences(
  before: ReadonlyMap<string, ReadonlyMap<string, KubeObject>>,
  after: ReadonlyMap<string, ReadonlyMap<string, KubeObject>>,
): StoreChange[] {
  const changes: StoreChange[] = []
  for (const plural of new Set([...before.keys(), ...after.keys()])) {
    const was = before.get(plural) ?? new Map<string, KubeObject>()
    const is = after.get(plural) ?? new Map<string, KubeObject>()
    for (const [key, object] of was) if (!is.has(key)) changes.push({ type: 'DELETED', plural, object, previous: object })
    for (const [key, object] of is) {
      const previous = was.get(key)
      if (previous === undefined) changes.push({ type: 'ADDED', plural, object })
      else if (previous !== object) changes.push({ type: 'MODIFIED', plural, object, previous })
    }
  }
  return changes
}
