/** What was read of the cluster before a plan is made: plain data, nothing asked of anyone. */
import type {
  LeaseView,
  NodeView,
  PersistentVolumeView,
  PodView,
  UnboundPodView,
  VirtualMachineInstanceView,
  VirtualMachineView,
  VolumeAttachmentView,
} from '../../kubernetes/resources.ts'
import type { FenceStatus } from '../fence/fence.ts'
import { fullName } from '../fence/names.ts'

export interface Snapshot {
  /** The nodes of the fence that exist; a node whose object is gone is absent. */
  readonly nodes: ReadonlyMap<string, NodeView>
  /** All pods bound to nodes of the fence. */
  readonly pods: readonly PodView[]
  /** Pods of the whole cluster that have no node and were made since the fence. */
  readonly unbound: readonly UnboundPodView[]
  /** By name; all of the cluster, also those that no claim has any more. */
  readonly volumes: ReadonlyMap<string, PersistentVolumeView>
  /** By `namespace/name`; all of the cluster. Empty where KubeVirt is not installed. */
  readonly vms: ReadonlyMap<string, VirtualMachineView>
  readonly vmis: ReadonlyMap<string, VirtualMachineInstanceView>
  /** Those of the fence's nodes. */
  readonly volumeAttachments: readonly VolumeAttachmentView[]
  /** Creation time of the Fence object, by the API server's clock, in whole seconds: what is not older was made since. */
  readonly since: string
  /** Leader-election Leases: all but the kubelets' own. */
  readonly leases: readonly LeaseView[]
  /** What the Fence object says was known and done before. */
  readonly recorded: FenceStatus
}

/**
 * By `namespace/claim`. Of a claim that was just made again there may be two for a moment, while the volume of the one before is not marked as released
 * yet: nobody can tell then, so both are asked about.
 */
export const volumesByClaim = ({ volumes }: Pick<Snapshot, 'volumes'>): ReadonlyMap<string, readonly PersistentVolumeView[]> =>
  Map.groupBy(
    [...volumes.values()].filter(({ claim }) => claim !== undefined),
    ({ claim }) => (claim === undefined ? '' : fullName(claim)),
  )
