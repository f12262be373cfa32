/** What people ask of an agent, by its control socket or by an annotation of a Node, and what it replies (docs/protocol/operator.md). */
import type { NodeId } from '../../protocol/ids.ts'

/** Rooms, nodes or both: at least one. */
export interface Named {
  readonly rooms: readonly string[]
  readonly nodes: readonly string[]
  /** Who asks; it is recorded. */
  readonly by: string
}

export type OperatorRequest =
  | ({ readonly kind: 'confirm-dead' } & Named)
  | ({ readonly kind: 'unfence'; readonly isForced: boolean } & Named)
  | ({ readonly kind: 'maintenance'; readonly isOn: boolean } & Named)
  | { readonly kind: 'suspend-fencing'; readonly isSuspended: boolean; readonly by: string }

export type RequestOf<Kind extends OperatorRequest['kind']> = Extract<OperatorRequest, { readonly kind: Kind }>

/** Taken: `nodes` is who was meant. */
export type RequestReply =
  | { readonly isTaken: true; readonly nodes: readonly NodeId[]; readonly text: string }
  | { readonly isTaken: false; readonly text: string }
