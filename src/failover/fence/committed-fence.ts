/** What the failover is given: which nodes a committed fence names, and why (docs/failover.md, "Executing the fence"). */
import type { ClusterId, Epoch, NodeId, Room } from '../../protocol/ids.ts'

export interface CommittedFence {
  /** Name of the Fence object, DNS-1123: `fence-7`. */
  readonly id: string
  readonly epoch: Epoch
  readonly clusterId: ClusterId
  readonly nodes: readonly NodeId[]
  readonly rooms: readonly Room[]
  readonly reason: string
  readonly carriedOutBy: NodeId
  /** Decide and record, touch nothing. */
  readonly dryRun: boolean
}
