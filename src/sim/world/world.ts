/** The virtual world around the shipped decision code, as types: what there is, and the few calls by which its parts reach one another. */
import type { Incarnation, NodeId, Room } from '../../protocol/ids.ts'
import type { Membership } from '../../protocol/membership.ts'
import type { ContainmentLevel } from '../../protocol/process.ts'
import type { Input, State } from '../../protocol/state.ts'
import type { Random } from '../schedule/random.ts'
import type { Moment, Schedule, Strike, WorldOptions } from '../schedule/schedule.ts'
import type { Clock } from './clock.ts'
import type { SimDisk } from './disk.ts'
import type { Network } from './network.ts'
import type { Observations } from './observations.ts'
import type { Volume } from './storage.ts'
import type { Timeline } from './timeline.ts'
import type { SimWitness } from './witness.ts'

export interface SimNode {
  readonly index: number
  readonly name: NodeId
  readonly room: Room
  incarnation: Incarnation
  lives: number
  disk: SimDisk
  boot: number
  /** Counts agent processes: what was meant for an earlier one is not for this one. */
  life: number
  isPowered: boolean
  /** A person gave a word for its death: it gets no power before everything is repaired. */
  isDeclaredDead: boolean
  /** The boot has come as far as the agent once: before that nothing is started on this node. */
  hasBooted: boolean
  state: State | undefined
  /** Stopped (SIGSTOP, swap, a slow hypervisor) until then, true ms. What reaches it meanwhile waits in `backlog`. */
  stoppedUntilMs: number
  backlog: (() => void)[]
  /** The whole host stands still until then: what is sent to it is lost. */
  deafUntilMs: number
  /** After the next thing that it does, stopped again for so long. */
  stallAgainMs: number
  /** How many more times an adversary starves this process to the brink of its watchdog, and whether that has begun. */
  starveLeft: number
  isStarving: boolean
  /** A pet was refused when it was due. */
  isPetDue: boolean
  /** The rest of the effects that were being carried out waits at the head of `backlog`. */
  hasRest: boolean
  readonly clock: Clock
  watchdogPlan: number
  /** This life of the agent has opened the watchdog: its death pets once more. */
  hasWatchdog: boolean
  /** True ms; Infinity: not armed. */
  watchdogFiresAtMs: number
  watchdogRate: number
  /** What the kernel enforces now (frozen cgroups outlive the agent), and how often that was ordered. */
  guard: ContainmentLevel
  containment: number
  /** Its agent closed the watchdog and ended in good order, and is not back yet. */
  hasLeft: boolean
  /** Heartbeats and goodbyes sent so far, and the latest of each other node that came: what comes after a later one says nothing (docs/wire-format.md). */
  saidTimes: number
  readonly heardOf: Map<number, { readonly life: number; readonly order: number }>
  /** A person who gave a word without which these would have no majority. */
  isTold: boolean
  /** A write of its to the API server is under way. */
  isCalling: boolean
  /** What it has contained was not let go, or not wholly, and is asked again. */
  isReleaseDue: boolean
  /** A task in uninterruptible sleep: no pause and no kill is verified until then. */
  stuckUntilMs: number
  /** Since when power, agent, disk and timers have been as they should, Infinity: they are not. */
  wellSinceMs: number
  startedAtMs: number
  permitWarnedMs: number
}

export interface Copy {
  readonly vm: number
  readonly node: number
  /** `incoming`: the target of a live migration before the switch-over; `draining`: dead, its last writes still on the way to the disk. */
  state: 'running' | 'paused' | 'incoming' | 'draining' | 'dead'
  /** When it was started, true ms. */
  readonly sinceMs: number
}

/** What the API server holds. */
export interface SimApi {
  isUp: boolean
  /** Each write may take as long as a call may. */
  isSlow: boolean
  /** By node index. */
  readonly nodeVersions: number[]
  /** By VM: how many pods it has had, this one included. */
  readonly pods: number[]
  /** By VM: the index of the node its pod is bound to, undefined: pending. */
  placement: (number | undefined)[]
  /** Fenced taint by node index: the epoch. */
  readonly taints: Map<number, number>
  readonly outOfService: Set<number>
  /** The epoch that un-fenced a node last, on its Node object. */
  readonly unfenced: Map<number, number>
  backup: { readonly placement: (number | undefined)[]; readonly taints: readonly (readonly [number, number])[] } | undefined
}

export interface World {
  readonly options: WorldOptions
  readonly schedule: Schedule
  readonly timeline: Timeline
  readonly random: Random
  readonly nodes: readonly SimNode[]
  readonly nodeByName: ReadonlyMap<string, SimNode>
  readonly network: Network
  readonly witness: SimWitness
  readonly witnessSite: number
  readonly apiSite: number
  readonly api: SimApi
  readonly volumes: readonly Volume[]
  readonly copies: Copy[]
  readonly observer: Observations
  readonly genesis: Membership
  readonly counts: Map<string, number>
  readonly log: string[] | undefined
  /** Disks that died with a membership on them. */
  disksLost: number
  /** Faults are over: nothing strikes any more. */
  isRepaired: boolean
  readonly moments: Map<Moment, number>
  /** Of the strikes that count from a time on. */
  readonly strikeCounts: Map<Strike, number>
  note(text: string): void
  count(what: string): void
  /** The adversary's turn, at a moment of the protocol. */
  strike(moment: Moment, node: SimNode): void
  /** Gives the agent of a node an input: now, or when it is awake. */
  feed(node: SimNode, input: Input): void
  /** Resets a node, as its watchdog does or its agent orders. */
  reset(node: SimNode, reason: string): void
}
