/** Stand-in of the attach-detach controller: which node has which CSI volume, as VolumeAttachments; Multi-Attach wait, forced detach. */
import { createHash } from 'node:crypto'
import {
  amend,
  csiVolumesOf,
  isOutOfService,
  isPodFinal,
  isReady,
  isTerminating,
  keyOf,
  locationOf,
  type Node,
  type PersistentVolume,
  type Pod,
  read,
  readAll,
  uniqueVolumeName,
  type VolumeAttachment,
} from './objects.ts'
import { type ClusterContext, createWorkQueue, type Stop, stopAll, watch } from './work-queue.ts'
import { writeEvent } from './events.ts'

/** How long a volume that a node may still have mounted is waited for, counted from the wish to detach. */
const MAX_WAIT_FOR_UNMOUNT_MS = 360_000
const MANAGED_ANNOTATION = 'volumes.kubernetes.io/controller-managed-attach-detach'

/** As the real one names it: a hash of volume, driver and node. */
const attachmentName = (volumeHandle: string, driver: string, nodeName: string): string =>
  `csi-${createHash('sha256').update(`${volumeHandle}${driver}${nodeName}`).digest('hex')}`

const isShared = (volume: PersistentVolume): boolean =>
  (volume.spec.accessModes ?? []).some((mode) => mode === 'ReadWriteMany' || mode === 'ReadOnlyMany')

/** A pod wants its volumes until it is gone or ended; one that is Terminating on a dead node keeps them. */
const wantsVolumes = (pod: Pod): boolean => pod.spec.nodeName !== undefined && !isPodFinal(pod)

export function startAttachDetach(context: ClusterContext): Stop {
  const { store, clock } = context
  /** Since when an attachment is no longer wanted, by its name. */
  const unwantedSince = new Map<string, number>()
  const waitsReported = new Set<string>()

  const reconcile = (): void => {
    const nodes = new Map(readAll(store, 'nodes').map((node) => [node.metadata.name, node]))
    const attachments = readAll(store, 'volumeattachments')
    const volumes = new Map(readAll(store, 'persistentvolumes').map((volume) => [volume.metadata.name, volume]))
    const wanted = new Map<string, { volume: PersistentVolume; node: string; pod: Pod }>()
    for (const pod of readAll(store, 'pods')) {
      if (!wantsVolumes(pod)) continue
      for (const volume of csiVolumesOf(store, pod)) {
        const node = pod.spec.nodeName ?? ''
        wanted.set(attachmentName(volume.spec.csi?.volumeHandle ?? '', volume.spec.csi?.driver ?? '', node), { volume, node, pod })
      }
    }
    for (const attachment of attachments) {
      const volume = volumes.get(attachment.spec.source.persistentVolumeName ?? '')
      if (wanted.has(attachment.metadata.name)) unwantedSince.delete(attachment.metadata.name)
      else if (!isTerminating(attachment)) detach(attachment, volume, nodes.get(attachment.spec.nodeName))
    }
    for (const [name, { volume, node, pod }] of wanted) {
      if (store.get('volumeattachments', undefined, name) !== undefined) continue
      const nodeObject = nodes.get(node)
      if (nodeObject?.metadata.annotations?.[MANAGED_ANNOTATION] !== 'true') continue
      const elsewhere = attachments.find(({ spec }) => spec.source.persistentVolumeName === volume.metadata.name && spec.nodeName !== node)
      if (
        elsewhere !== undefined &&
        !isShared(volume) &&
        store.get('volumeattachments', undefined, elsewhere.metadata.name) !== undefined
      ) {
        reportMultiAttach(pod, volume)
        continue
      }
      store.create('volumeattachments', {
        metadata: { name },
        spec: { attacher: volume.spec.csi?.driver, source: { persistentVolumeName: volume.metadata.name }, nodeName: node },
        status: { attached: false },
      })
    }
    for (const node of nodes.values()) reportAttached(node, volumes)
  }

  const detach = (attachment: VolumeAttachment, volume: PersistentVolume | undefined, node: Node | undefined): void => {
    const { name } = attachment.metadata
    const sinceMs = unwantedSince.get(name) ?? clock.nowMs()
    unwantedSince.set(name, sinceMs)
    const isInUse = volume !== undefined && (node?.status?.volumesInUse ?? []).includes(uniqueVolumeName(volume))
    if (isInUse && node !== undefined && !isOutOfService(node)) {
      const waitMs = MAX_WAIT_FOR_UNMOUNT_MS * context.timeFactor - (clock.nowMs() - sinceMs)
      // A node that is Ready will unmount in its own time; only of one that is not, the wait has an end.
      if (isReady(node)) return
      if (waitMs > 0) {
        queue.addAfter('all', waitMs / context.timeFactor + 1)
        return
      }
    }
    unwantedSince.delete(name)
    store.remove('volumeattachments', undefined, name)
  }

  const reportMultiAttach = (pod: Pod, volume: PersistentVolume): void => {
    const key = `${pod.metadata.uid} ${volume.metadata.name}`
    if (waitsReported.has(key)) return
    waitsReported.add(key)
    writeEvent(context, {
      about: pod,
      type: 'Warning',
      reason: 'FailedAttachVolume',
      component: 'attachdetach-controller',
      message: `Multi-Attach error for volume "${volume.metadata.name}" Volume is already exclusively attached to one node and can't be attached to another`,
    })
  }

  const reportAttached = (node: Node, volumes: ReadonlyMap<string, PersistentVolume>): void => {
    const names = readAll(store, 'volumeattachments')
      .filter((attachment) => attachment.spec.nodeName === node.metadata.name && attachment.status?.attached && !isTerminating(attachment))
      .flatMap((attachment) => volumes.get(attachment.spec.source.persistentVolumeName ?? '') ?? [])
      .map(uniqueVolumeName)
      .sort()
    const known = (node.status?.volumesAttached ?? []).map(({ name }) => name).sort()
    if (JSON.stringify(names) === JSON.stringify(known)) return
    amend(store, 'nodes', locationOf(node), (changed) => {
      const { volumesAttached: _before, ...status } = changed.status ?? {}
      changed.status = names.length === 0 ? status : { ...status, volumesAttached: names.map((name) => ({ name, devicePath: '' })) }
    })
  }

  const queue = createWorkQueue(context, 'attach-detach', reconcile, 100)
  const stopWatch = watch(
    store,
    ['pods', 'nodes', 'volumeattachments', 'persistentvolumes', 'persistentvolumeclaims'],
    ({ type, plural, object }) => {
      if (plural === 'pods' && type === 'DELETED')
        for (const key of waitsReported) if (key.startsWith(object.metadata.uid)) waitsReported.delete(key)
      queue.add('all')
    },
  )
  return stopAll(stopWatch, queue)
}

/** Stand-in of the CSI external-attacher: its finalizer on each attachment, `attached` true after a while, and away again. */
export function startExternalAttacher(context: ClusterContext, driver: string, delays = { attachMs: 300, detachMs: 300 }): Stop {
  const { store } = context
  const finalizer = `external-attacher/${driver.replaceAll('.', '-')}`
  const queue = createWorkQueue(context, 'external-attacher', (key) => {
    const [step, name = ''] = key.split(' ')
    const attachment = read(store, 'volumeattachments', undefined, name)
    if (attachment === undefined) return
    const hasFinalizer = (attachment.metadata.finalizers ?? []).includes(finalizer)
    if (isTerminating(attachment)) {
      if (!hasFinalizer) return
      if (step !== 'detach') return queue.addAfter(`detach ${name}`, delays.detachMs)
      amend(store, 'volumeattachments', locationOf(attachment), (detached) => {
        detached.status = { attached: false }
      })
      amend(store, 'volumeattachments', locationOf(attachment), (detached) => {
        detached.metadata.finalizers = (detached.metadata.finalizers ?? []).filter((other) => other !== finalizer)
      })
    } else if (attachment.status?.attached !== true) {
      if (!hasFinalizer) {
        amend(store, 'volumeattachments', locationOf(attachment), (held) => {
          held.metadata.finalizers = [...(held.metadata.finalizers ?? []), finalizer]
        })
      }
      if (step !== 'attach') return queue.addAfter(`attach ${name}`, delays.attachMs)
      amend(store, 'volumeattachments', locationOf(attachment), (attached) => {
        attached.status = { attached: true }
      })
    }
  })
  const stopWatch = watch(store, ['volumeattachments'], ({ type, object }) => {
    if (type !== 'DELETED' && (object as VolumeAttachment).spec.attacher === driver) queue.add(`see ${keyOf(object).slice(1)}`)
  })
  return stopAll(stopWatch, queue)
}
