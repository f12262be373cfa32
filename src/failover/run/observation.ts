/** The cluster as the failover sees it: collections kept current by watches, of the fenced nodes' pods and of what hangs on them. */
import type { KubeClient } from '../../kubernetes/client.ts'
import { isKubeError, type KubeError } from '../../kubernetes/errors.ts'
import {
  type LeaseView,
  leaseView,
  nodeView,
  paths,
  persistentVolumeView,
  podView,
  unboundPodView,
  virtualMachineInstanceView,
  virtualMachineView,
  volumeAttachmentView,
} from '../../kubernetes/resources.ts'
import { type Collection, startCollection, type WatchEnding } from '../../kubernetes/watch.ts'
import type { FenceStatus } from '../fence/fence.ts'
import { fullName } from '../fence/names.ts'
import { nodeLeaseNamespace } from '../plan/leases.ts'
import type { Snapshot } from '../plan/snapshot.ts'
import { refusalReason } from './rbac.ts'

export interface Observation {
  whenFresh: Promise<void>
  /** Everything has been listed at least once: before that, absence means nothing. */
  isFresh(): boolean
  /** @param since creation time of the Fence object: pods without a node are of interest if they are not older */
  snapshot(recorded: FenceStatus, since: string): Snapshot
  /** Lists the leader leases anew: they change every other second, so they are not watched. */
  refreshLeases(signal: AbortSignal): Promise<void>
  /** Lists everything anew: the API server lost what it had told. */
  relist(): void
  stop(): void
}

/** Endings that come and go by themselves are none. */
const isProblem = (ending: WatchEnding): boolean =>
  ending === 'refused' || ending === 'broken' || ending === 'throttled' || ending === 'garbled'

export function startObservation(options: {
  readonly client: KubeClient
  readonly nodes: readonly string[]
  readonly onChange: () => void
  /** What cannot be looked at, each reason once until it was seen again. */
  readonly onNotSeen: (path: string, reason: string) => void
}): Observation {
  const { client, onChange } = options
  const nodes = new Set(options.nodes)
  const toldOf = new Map<string, string>()
  const seen = (path: string): void => {
    toldOf.delete(path)
  }
  const notSeen = (path: string, error: KubeError): void => {
    // Pods are asked for node by node: of which node it was makes no other reason.
    const reason = refusalReason(error).replace(error.path, path)
    if (toldOf.get(path) === reason) return
    toldOf.set(path, reason)
    options.onNotSeen(path, reason)
  }
  const collect = <T>(
    path: string,
    project: (object: unknown) => T | undefined,
    keyOf: (item: T) => string,
    fieldSelector?: string,
  ): Collection<T> =>
    startCollection({
      client,
      path,
      project,
      keyOf,
      onChange: (change) => {
        if (change.type === 'listed') seen(path)
        onChange()
      },
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
      onEnding: (ending, error) => {
        if (error !== undefined && isProblem(ending)) notSeen(path, error)
      },
    })
  const only =
    <T>(project: (object: unknown) => T, belongs: (item: T) => boolean) =>
    (object: unknown): T | undefined => {
      const item = project(object)
      return belongs(item) ? item : undefined
    }
  const nodeObjects = collect(
    paths.nodes,
    only(nodeView, (node) => nodes.has(node.name)),
    (node) => node.name,
  )
  const pods = options.nodes.map((node) => collect(paths.pods, podView, (pod) => pod.uid, `spec.nodeName=${node}`))
  const unbound = collect(paths.pods, unboundPodView, (pod) => pod.uid, 'spec.nodeName=')
  const volumes = collect(paths.persistentVolumes, persistentVolumeView, (volume) => volume.name)
  const attachments = collect(
    paths.volumeAttachments,
    only(volumeAttachmentView, (attachment) => nodes.has(attachment.nodeName)),
    (attachment) => attachment.uid,
  )
  const vms = collect(paths.virtualMachines, virtualMachineView, fullName)
  const vmis = collect(paths.virtualMachineInstances, virtualMachineInstanceView, fullName)
  const all: readonly Collection<unknown>[] = [
    nodeObjects,
    ...pods,
    unbound,
    volumes,
    attachments,
    vms,
    vmis,
  ] as readonly Collection<unknown>[]
  let leases: readonly LeaseView[] = []
  let leasesListed = false

  return {
    whenFresh: Promise.all(all.map((collection) => collection.whenFresh)).then(() => {}),
    isFresh: () => leasesListed && all.every((collection) => collection.isFresh()),
    snapshot: (recorded, since) => ({
      nodes: nodeObjects.items(),
      pods: pods.flatMap((collection) => [...collection.items().values()]),
      unbound: [...unbound.items().values()].filter((pod) => pod.createdAt >= since),
      volumes: volumes.items(),
      vms: vms.items(),
      vmis: vmis.items(),
      volumeAttachments: [...attachments.items().values()],
      since,
      leases,
      recorded,
    }),
    refreshLeases: async (signal) => {
      try {
        const listed = await client.list(paths.leases, {
          project: only(leaseView, (lease) => lease.namespace !== nodeLeaseNamespace && lease.holder !== ''),
          signal,
        })
        leases = listed.items
        seen(paths.leases)
      } catch (error) {
        // Without the right to see leases the standbys lead some seconds later: no reason to stop, but one to tell.
        if (!isKubeError(error, 'forbidden', 'not-found')) throw error
        notSeen(paths.leases, error)
      }
      leasesListed = true
    },
    relist: () => {
      for (const collection of all) collection.relist()
    },
    stop: () => {
      for (const collection of all) collection.stop()
    },
  }
}
