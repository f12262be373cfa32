/** The witness as agents see it: one linearizable register behind one small interface (docs/protocol/choosing.md, "The witness"). Pure. */
import type { Epoch, Incarnation, NodeId } from '../protocol/ids.ts'
import { digestOf, memberOf } from '../protocol/membership.ts'
import type { Register, WitnessAnswer, WitnessRequest } from '../protocol/messages.ts'

/** When the witness last counted a read of a node as an ack. */
export interface WitnessAck {
  readonly node: NodeId
  readonly incarnation: Incarnation
  readonly epoch: Epoch
  /** On the witness's clock, at the moment of its answer. */
  readonly agoMs: number
}

/** Kept in the witness's memory only: a read that is not in the list is no older than the witness's own start. */
export interface WitnessMemory {
  readonly acks: readonly WitnessAck[]
  readonly startedAgoMs: number
}

/** `memory`: only from a witness that keeps one. */
export type WitnessReply = WitnessAnswer & { readonly memory?: WitnessMemory }

export type CreateAnswer =
  | { readonly kind: 'created'; readonly version: number }
  /** There is a register already: genesis was made before, or by someone else. */
  | { readonly kind: 'exists'; readonly register: Register }
  | { readonly kind: 'failed'; readonly reason: string }

export interface WitnessClient {
  /** Never rejects: what went wrong is a `failed` answer; whether a failed swap was carried out is unknown. */
  request(request: WitnessRequest, signal?: AbortSignal): Promise<WitnessReply>
  /** Genesis alone: makes the register where there is none. Never rejects. */
  create(register: Omit<Register, 'version'>, signal?: AbortSignal): Promise<CreateAnswer>
  close(): void
}

export interface Reader {
  readonly node: NodeId
  readonly incarnation: Incarnation
}

/**
 * Whether a read is an ack to its reader: under the very epoch that the register holds, by an unfenced member in its present incarnation,
 * while no accepted value fences or removes it.
 */
export function countsAsAck(register: Register, reader: Reader, epoch: Epoch, digest: string): boolean {
  const { membership, accepted } = register
  if (membership.epoch !== epoch || digestOf(membership) !== digest) return false
  const member = memberOf(membership, reader.node)
  if (!member || member.incarnation !== reader.incarnation || member.standing === 'fenced') return false
  if (!accepted) return true
  const next = memberOf(accepted.membership, reader.node)
  return next !== undefined && next.standing !== 'fenced'
}
