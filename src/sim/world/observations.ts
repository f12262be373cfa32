/** What the observer has seen so far: the true state of the world, never the agents' opinions. */
import type { Membership } from '../../protocol/membership.ts'

export type Property =
  | 'P1 single writer'
  | 'P2 single survivor'
  | 'P3 no self-made outage'
  | 'P4 no stale start'
  | 'P5 nothing forgotten'
  | 'P6 it ends'
  | 'lost-write'
  | 'reboot with permit'
  | 'killed unfenced'
  | 'invariant'

export interface Violation {
  readonly property: Property
  readonly text: string
  readonly atMs: number
}

export interface Observations {
  readonly violations: Violation[]
  /** Every epoch that anyone ever learned. */
  readonly chosen: Map<number, Membership>
  latest: Membership | undefined
  /** The highest epoch of which the adversary has heard. */
  announcedEpoch: number
  /** When each of them was first learned, by number. */
  readonly chosenAtMs: Map<number, number>
  /** When a value was first accepted by anyone, by digest. */
  readonly acceptedAtMs: Map<string, number>
  /** Who accepted a value under a ballot, by digest and ballot. */
  readonly acceptedBy: Map<string, Map<string, Set<string>>>
  /** The last fence for which a node, in one of its lives on a disk, has killed. */
  readonly killedFor: Map<string, number>
}

export const createObservations = (): Observations => ({
  violations: [],
  chosen: new Map(),
  latest: undefined,
  announcedEpoch: 0,
  chosenAtMs: new Map(),
  acceptedAtMs: new Map(),
  acceptedBy: new Map(),
  killedFor: new Map(),
})
