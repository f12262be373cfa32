/** The garbage collector and the namespace controller, in small: what has lost all its owners goes, and so does a namespace's content. */
import { isJsonObject } from './freeze.ts'
import { type KubeObject, type Store, StoreError } from './store.ts'

/** As seen on a real control plane: a tenth of a second after the owner. */
const DELAY_MS = 100

interface Item {
  readonly plural: string
  readonly object: KubeObject
}

/** @returns a function that ends it */
export function collectGarbage(store: Store): () => void {
  let timer: NodeJS.Timeout | undefined

  const everything = (): Item[] => store.resources().flatMap(({ plural }) => store.list(plural).map((object) => ({ plural, object })))

  /** Another writer came first: the change it made brings the next sweep. */
  function attempt(action: () => void): void {
    try {
      action()
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
    }
  }

  function sweep(): void {
    timer = undefined
    const items = everything()
    const uids = new Map(items.map((item) => [item.object.metadata.uid, item]))
    for (const { plural, object } of items) {
      const owners = object.metadata.ownerReferences ?? []
      const { namespace, name, uid } = object.metadata
      if (owners.length > 0 && object.metadata.deletionTimestamp === undefined) {
        const isKept = owners.some((owner) => {
          const found = uids.get(owner.uid)?.object.metadata
          return found !== undefined && !(found.deletionTimestamp !== undefined && found.finalizers?.includes('foregroundDeletion'))
        })
        if (!isKept) attempt(() => store.remove(plural, namespace, name, { uid, propagationPolicy: 'Background' }))
      }
    }
    for (const { plural, object } of items) if (object.metadata.deletionTimestamp !== undefined) finish(plural, object, items)
  }

  /** Carries out the finalizers and namespaces that are the control plane's to finish. */
  function finish(plural: string, object: KubeObject, items: readonly Item[]): void {
    const { uid, finalizers = [] } = object.metadata
    const dependents = items.filter((item) => item.object.metadata.ownerReferences?.some((owner) => owner.uid === uid))
    if (finalizers.includes('orphan')) {
      for (const dependent of dependents) {
        const ownerReferences = dependent.object.metadata.ownerReferences?.filter((owner) => owner.uid !== uid) ?? []
        attempt(() => store.update(dependent.plural, { ...dependent.object, metadata: { ...dependent.object.metadata, ownerReferences } }))
      }
      withoutFinalizer(plural, object, 'orphan')
    } else if (finalizers.includes('foregroundDeletion') && dependents.length === 0) {
      withoutFinalizer(plural, object, 'foregroundDeletion')
    } else if (plural === 'namespaces') {
      emptyNamespace(object, items)
    }
  }

  function withoutFinalizer(plural: string, object: KubeObject, finalizer: string): void {
    const finalizers = object.metadata.finalizers?.filter((name) => name !== finalizer) ?? []
    attempt(() => store.update(plural, { ...object, metadata: { ...object.metadata, finalizers } }))
  }

  function emptyNamespace(namespace: KubeObject, items: readonly Item[]): void {
    const content = items.filter(({ object }) => object.metadata.namespace === namespace.metadata.name)
    for (const { plural, object } of content) {
      const { name, uid, deletionTimestamp } = object.metadata
      if (deletionTimestamp === undefined) attempt(() => store.remove(plural, namespace.metadata.name, name, { uid }))
    }
    if (content.length > 0) return
    const spec = isJsonObject(namespace['spec']) ? namespace['spec'] : {}
    attempt(() => store.update('namespaces', { ...namespace, spec: { ...spec, finalizers: [] } }))
  }

  function schedule(): void {
    timer ??= setTimeout(sweep, DELAY_MS)
  }

  const stopListening = store.onChange(({ type, object }) => {
    const { deletionTimestamp, ownerReferences } = object.metadata
    if (type === 'DELETED' || deletionTimestamp !== undefined || (type === 'ADDED' && ownerReferences !== undefined)) schedule()
  })
  return () => {
    stopListening()
    clearTimeout(timer)
  }
}
