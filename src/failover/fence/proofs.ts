/** What the failover asks about a fenced node: whether it has stopped, and whether the data of what it ran is elsewhere (docs/protocol/proofs.md and P4). */
import type { NodeId } from '../../protocol/ids.ts'

/** Why it is known that a node, or what it ran, writes no more. */
export type Proof =
  | { readonly kind: 'storage' }
  | { readonly kind: 'timed'; readonly sinceMs: number }
  | { readonly kind: 'killed' }
  | { readonly kind: 'power' }
  | { readonly kind: 'human'; readonly by: string }

export type ProofAnswer =
  | { readonly isProved: true; readonly proof: Proof }
  /** `readyInMs`: when it will hold by itself; absent when nothing says that it ever will. */
  | { readonly isProved: false; readonly reason: string; readonly readyInMs?: number }

export interface Proofs {
  /** The whole node has stopped: timed, killed, power or human. */
  node(node: NodeId): ProofAnswer
  /** The node's proof, else `storage` for exactly these DRBD resources (a PV's `csi.volumeHandle`). */
  workload(node: NodeId, resources: readonly string[]): ProofAnswer
}

export interface VolumeName {
  readonly driver: string
  readonly handle: string
}

/** Whether the survivors hold an UpToDate replica of every volume (P4). Drivers that are not DRBD are open. */
export type DataGate = (volumes: readonly VolumeName[]) => { readonly open: true } | { readonly open: false; readonly reason: string }
