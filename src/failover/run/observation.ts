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

interface ObservationOptions {
  readonly client: KubeClient
  readonly nodes: readonly string[]
  readonly onChange: () => void
  /** What cannot be looked at, each reason once until it was seen again. */
  readonly onNotSeen: (path: string, reason: string) => void
}

export function startObservation(options: ObservationOptions): Observation {
  const sight = sightOf(options.onNotSeen)
  const kept = collectionsOf(options, sight)
  const all: readonly Watched[] = [kept.nodes, ...kept.pods, kept.unbound, kept.volumes, kept.attachments, kept.vms, kept.vmis]
  let leases: readonly LeaseView[] = []
  let areLeasesListed = false
  return {
    isFresh: () => areLeasesListed && all.every((collection) => collection.isFresh()),
    snapshot: (recorded, since) => ({
      nodes: kept.nodes.items(),
      pods: kept.pods.flatMap((collection) => [...collection.items().values()]),
      unbound: [...kept.unbound.items().values()].filter((pod) => pod.createdAt >= since),
      volumes: kept.volumes.items(),
      vms: kept.vms.items(),
      vmis: kept.vmis.items(),
      volumeAttachments: [...kept.attachments.items().values()],
      since,
      leases,
      recorded,
    }),
    refreshLeases: async (signal) => {
      leases = (await listLeases(options.client, sight, signal)) ?? leases
      areLeasesListed = true
    },
    relist: () => {
      for (const collection of all) collection.relist()
    },
    stop: () => {
      for (const collection of all) collection.stop()
    },
  }
}

/** What all collections have in common, whatever is in them. */
type Watched = Pick<Collection<unknown>, 'isFresh' | 'relist' | 'stop'>

interface Sight {
  readonly seen: (path: string) => void
  readonly notSeen: (path: string, error: KubeError) => void
}

function sightOf(onNotSeen: ObservationOptions['onNotSeen']): Sight {
  const toldOf = new Map<string, string>()
  return {
    seen: (path) => {
      toldOf.delete(path)
    },
    notSeen: (path, error) => {
      // Pods are asked for node by node: of which node it was makes no other reason.
      const reason = refusalReason(error).replace(error.path, path)
      if (toldOf.get(path) === reason) return
      toldOf.set(path, reason)
      onNotSeen(path, reason)
    },
  }
}

/** Endings that come and go by themselves are none. */
const isProblem = (ending: WatchEnding): boolean =>
  ending === 'refused' || ending === 'broken' || ending === 'throttled' || ending === 'garbled'

const only =
  <T>(project: (object: unknown) => T, belongs: (item: T) => boolean) =>
  (object: unknown): T | undefined => {
    const item = project(object)
    return belongs(item) ? item : undefined
  }

function collectionsOf(options: ObservationOptions, { seen, notSeen }: Sight) {
  const nodes = new Set(options.nodes)
  const collect = <T>(path: string, project: (object: unknown) => T | undefined, keyOf: (item: T) => string, fieldSelector?: string) =>
    startCollection({
      client: options.client,
      path,
      project,
      keyOf,
      onChange: (change) => {
        if (change.type === 'listed') seen(path)
        options.onChange()
      },
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
      onEnding: (ending, error) => {
        if (error !== undefined && isProblem(ending)) notSeen(path, error)
      },
    })
  return {
    nodes: collect(
      paths.nodes,
      only(nodeView, (node) => nodes.has(node.name)),
      (node) => node.name,
    ),
    pods: options.nodes.map((node) => collect(paths.pods, podView, (pod) => pod.uid, `spec.nodeName=${node}`)),
    unbound: collect(paths.pods, unboundPodView, (pod) => pod.uid, 'spec.nodeName='),
    volumes: collect(paths.persistentVolumes, persistentVolumeView, (volume) => volume.name),
    attachments: collect(
      paths.volumeAttachments,
      only(volumeAttachmentView, (attachment) => nodes.has(attachment.nodeName)),
      (attachment) => attachment.uid,
    ),
    vms: collect(paths.virtualMachines, virtualMachineView, fullName),
    vmis: collect(paths.virtualMachineInstances, virtualMachineInstanceView, fullName),
  }
}

/** Undefined without the right to see leases: the standbys lead some seconds later then, which is no reason to stop, but one to tell. */
async function listLeases(client: KubeClient, { seen, notSeen }: Sight, signal: AbortSignal): Promise<readonly LeaseView[] | undefined> {
  try {
    const { items } = await client.list(paths.leases, {
      project: only(leaseView, (lease) => lease.namespace !== nodeLeaseNamespace && lease.holder !== ''),
      signal,
    })
    seen(paths.leases)
    return items
  } catch (error) {
    if (!isKubeError(error, 'forbidden', 'not-found')) throw error
    notSeen(paths.leases, error)
    return undefined
  }
}
