/** A schedule: the world's shape and the faults that happen in it, as plain data, so that it can be replayed, shrunk and read. */
import type { Message, WitnessRequest } from '../../protocol/messages.ts'
import { defaultTimings, type Timings } from '../../protocol/timings.ts'

export type Profile = 'ordinary' | 'hostile'

export interface WorldOptions {
  readonly seed: number
  /** Nodes of each room, 1-5 each; rooms are named a, b, c. */
  readonly nodesOfRooms: readonly number[]
  readonly hasWitness: boolean
  /** Heartbeat paths between nodes, 1 or 2; storage uses the last one. */
  readonly paths: number
  readonly vms: number
  /** DRBD with `fencing resource-and-stonith`. */
  readonly isFreezeMode: boolean
  readonly timings: Timings
  /** null: no watchdog. */
  readonly watchdogMs: number | null
  readonly tickMs: number
  /** Shortest and longest time from reset to the agent's start. */
  readonly rebootMs: readonly [number, number]
  /** Room `a` where it is not said. */
  readonly preferredRoom?: string
  /** How often in one watchdog timeout the agent pets, 5 where it is not said. */
  readonly petsAPeriod?: number
  /** Half of the clocks are as wrong as they may be. */
  readonly areClocksAtEdge?: boolean
}

/** What a message on a link is, for a filter: between agents, to the witness, and its answers. */
export type Traffic = Message['kind'] | WitnessRequest['kind'] | 'answer'

/**
 * Targets name a room (`a`), a node (`a1`), `witness` or `api`. In a strike also `@self` (where the moment was), `@room` (its room),
 * `@others` (every other room), `@peer` (one node of another room).
 */
export type Fault =
  | { readonly kind: 'cut'; readonly from: string; readonly to: string; readonly isOneWay: boolean; readonly path: number | null }
  | {
      readonly kind: 'degrade'
      readonly from: string
      readonly to: string
      readonly path: number | null
      readonly loss: number
      readonly delayMs: number
      readonly jitterMs: number
      readonly duplicate: number
    }
  /** Messages of one kind on a link are late by so much, or lost (null); 0: no longer. */
  | { readonly kind: 'filter'; readonly from: string; readonly to: string; readonly message: Traffic; readonly lateMs: number | null }
  | { readonly kind: 'flap'; readonly from: string; readonly to: string; readonly everyMs: number; readonly times: number }
  /** All links are as good as new, or those between two targets. */
  | { readonly kind: 'heal'; readonly between?: readonly [string, string] }
  | { readonly kind: 'power-off'; readonly target: string }
  /** `isOverruled`: also what a person declared dead; nobody should, before the rooms see each other. */
  | { readonly kind: 'power-on'; readonly target: string; readonly isOverruled?: boolean }
  | { readonly kind: 'crash'; readonly target: string; readonly backMs: number }
  /** `isDeaf`: the whole host stands still, and what is sent to it meanwhile is lost. */
  | { readonly kind: 'stop'; readonly target: string; readonly forMs: number; readonly isDeaf?: boolean }
  /** Stopped, let go for a moment, in which one thing that it was about to do is done, and stopped again. */
  | { readonly kind: 'stall'; readonly target: string; readonly forMs: number; readonly thenMs: number }
  /**
   * A process that is starved by an adversary: stopped at its next pet that may be its last (or is due while a pause is under way), it gets to run
   * only right before its watchdog would fire, does one thing each time, the pet first where it is due, and is gone again; `times` over.
   */
  | { readonly kind: 'brink'; readonly target: string; readonly times: number }
  | { readonly kind: 'clock'; readonly target: string; readonly rate: number }
  | { readonly kind: 'disk'; readonly target: string; readonly how: 'slow' | 'full' | 'good' | 'dead' }
  | { readonly kind: 'stuck'; readonly target: string; readonly forMs: number }
  | { readonly kind: 'witness'; readonly how: 'down' | 'up' | 'slow' | 'quick' | 'restore' | 'restore-earlier' }
  | { readonly kind: 'api'; readonly how: 'down' | 'up' | 'slow' | 'quick' | 'rollback' }
  | { readonly kind: 'unfence'; readonly target: string }
  | { readonly kind: 'confirm-dead'; readonly target: string }
  /** All fencing is suspended by a person, or resumed. `at`: only the agents named hear of it. */
  | { readonly kind: 'suspension'; readonly isSuspended: boolean; readonly at?: string }
  | { readonly kind: 'maintenance'; readonly target: string; readonly isOn: boolean }
  | { readonly kind: 'leave'; readonly target: string; readonly backMs: number }
  | { readonly kind: 'migrate'; readonly vm: number }
  /** Everything works again: links, power, witness, API, disks, agents, brakes. */
  | { readonly kind: 'repair' }

/** The faults of some kinds alone. */
export type FaultOf<Kind extends Fault['kind']> = Extract<Fault, { readonly kind: Kind }>

/** A moment of the protocol, counted over the whole run: the `nth` time that it comes, the fault strikes before anything else happens. */
export type Moment =
  | 'proposing'
  | 'finishing'
  | 'promise'
  | 'accept'
  | 'accepted'
  | 'swap'
  | 'swapped'
  | 'chosen'
  /** An epoch is learned by its first node. */
  | 'decided'
  | 'learned'
  /** A node knows for the first time that its epoch is installed. */
  | 'installed'
  | 'persist'
  | 'persisted'
  | 'permit-lost'
  | 'permit-ending'
  | 'pausing'
  /** One workload of a node is paused, and the next is not yet. */
  | 'half-paused'
  | 'killing'
  | 'thawing'
  | 'petting'
  /** Petting with so little of the permit left that it may be the last time. */
  | 'last-pet'
  | 'tainting'
  | 'ordering'
  | 'starting'

export interface Planned {
  readonly atMs: number
  readonly fault: Fault
}

export interface Strike {
  readonly moment: Moment
  readonly nth: number
  /** Counted from then on, not from the beginning. */
  readonly fromMs?: number
  readonly fault: Fault
}

export interface Schedule {
  readonly options: WorldOptions
  readonly planned: readonly Planned[]
  readonly strikes: readonly Strike[]
  /** When the faults end; then comes repair and what must follow it. */
  readonly untilMs: number
  /** Which room is lost after all has settled, null: none. */
  readonly finale: string | null
  /** How it is lost: its power, or all its links while its nodes run on; power where it is not said. */
  readonly finaleHow?: 'power' | 'cut'
  /** A scenario that ends as it is. */
  readonly isLeftUnrepaired?: boolean
}

export const hostileTimings: Timings = {
  ...defaultTimings,
  heartbeatMs: 250,
  permitMs: 2_000,
  detectMs: 1_200,
  detectNodeMs: 3_000,
  arbitrationDelayMs: 500,
  killMs: 500,
  lingerMs: 1_200,
  attemptMs: 800,
  ioResidueMs: 400,
  lateMs: 400,
  restartGraceMs: 800,
  witnessReadMs: 350,
  witnessShiftMs: 1_500,
  witnessRecentMs: 750,
  witnessReturnMs: 2_000,
  clockRateError: 0.02,
  settleMs: 1_000,
  apiCallMs: 1_500,
}

export const HOSTILE_WATCHDOG_MS = 1_200

export const ORDINARY_WATCHDOG_MS = 5_000
