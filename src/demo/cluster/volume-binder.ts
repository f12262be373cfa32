/** Stand-in of the persistent volume controller: binds a claim and the volume made for it to one another, and releases a volume whose claim is gone. */
import { amend, type PersistentVolume, type PersistentVolumeClaim, locationOf, read, readAll } from './objects.ts'
import { type ClusterContext, createWorkQueue, type Stop, stopAll, watch } from './work-queue.ts'

const LATENCY_MS = 50

export function startVolumeBinder(context: ClusterContext): Stop {
  const { store } = context

  const bind = (volume: PersistentVolume, claim: PersistentVolumeClaim): void => {
    const { name } = volume.metadata
    amend(store, 'persistentvolumes', locationOf(volume), (bound) => {
      if (bound.spec.claimRef !== undefined) bound.spec.claimRef.uid = claim.metadata.uid
      bound.status = { ...bound.status, phase: 'Bound' }
    })
    amend(store, 'persistentvolumeclaims', locationOf(claim), (bound) => {
      bound.spec.volumeName = name
      bound.status = { ...bound.status, phase: 'Bound' }
    })
  }

  const reconcile = (name: string): void => {
    const volume = read(store, 'persistentvolumes', undefined, name)
    if (volume === undefined) return
    const { claimRef } = volume.spec
    const claim = claimRef && read(store, 'persistentvolumeclaims', claimRef.namespace, claimRef.name)
    const isIts = claim !== undefined && (claimRef?.uid ?? claim.metadata.uid) === claim.metadata.uid
    if (isIts && (claim.spec.volumeName ?? name) === name) {
      bind(volume, claim)
      return
    }
    amend(store, 'persistentvolumes', locationOf(volume), (free) => {
      free.status = { ...free.status, phase: claimRef?.uid === undefined ? 'Available' : 'Released' }
    })
  }

  const queue = createWorkQueue(context, 'volume-binder', reconcile, LATENCY_MS)
  const stopWatch = watch(store, ['persistentvolumes', 'persistentvolumeclaims'], ({ type, plural, object }) => {
    if (plural === 'persistentvolumes') {
      if (type !== 'DELETED') queue.add(object.metadata.name)
      return
    }
    const { namespace, name } = object.metadata
    for (const { metadata, spec } of readAll(store, 'persistentvolumes'))
      if (spec.claimRef?.namespace === namespace && spec.claimRef?.name === name) queue.add(metadata.name)
  })
  return stopAll(stopWatch, queue)
}
