/** The virtual world around the shipped decision code: it puts the parts together and holds what they share. */
import { clusterId, incarnation, type NodeId, nodeId, type Room, room } from '../protocol/ids.ts'
import { genesis, type Membership } from '../protocol/membership.ts'
import type { ContainmentLevel } from '../protocol/process.ts'
import type { Brakes, State } from '../protocol/state.ts'
import type { Incarnation } from '../protocol/ids.ts'
import { startAgent } from './agent.ts'
import { type Clock, rateOf } from './clock.ts'
import { createDisk, type SimDisk } from './disk.ts'
import { strikeAt } from './faults.ts'
import { createNetwork, type Network } from './network.ts'
import { createObserver, type Observer } from './observer.ts'
import { type Random, randomFrom } from './random.ts'
import type { Moment, Schedule, Strike, WorldOptions } from './schedule.ts'
import { createVolume, type Volume } from './storage.ts'
import { createTimeline, type Timeline } from './timeline.ts'
import { createWitness, type SimWitness } from './witness.ts'
import { type Copy, startKubelets, startKernels } from './workloads.ts'

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
  state: State | null
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
  holdsWatchdog: boolean
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

/** What the API server holds. */
export interface SimApi {
  isUp: boolean
  /** Each write may take as long as a call may. */
  isSlow: boolean
  /** By node index. */
  readonly nodeVersions: number[]
  /** By VM: how many pods it has had, this one included. */
  readonly pods: number[]
  /** By VM: the index of the node its pod is bound to, null: pending. */
  placement: (number | null)[]
  /** Fenced taint by node index: the epoch. */
  readonly taints: Map<number, number>
  readonly outOfService: Set<number>
  /** The epoch that un-fenced a node last, on its Node object. */
  readonly unfenced: Map<number, number>
  backup: { readonly placement: (number | null)[]; readonly taints: readonly (readonly [number, number])[] } | null
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
  readonly observer: Observer
  readonly genesis: Membership
  readonly counts: Map<string, number>
  readonly log: string[] | null
  /** Disks that died with a membership on them. */
  disksLost: number
  /** Faults are over: nothing strikes any more. */
  isRepaired: boolean
  readonly moments: Map<Moment, number>
  /** Of the strikes that count from a time on. */
  readonly strikeCounts: Map<Strike, number>
  note(text: string): void
  count(what: string): void
  strike(moment: Moment, node: SimNode): void
}

export const simulatedBrakes: Brakes = { isDryRun: false, maxFencedShare: 0.85, maxFencedShareOfRoom: 0.5 }

export function createWorld(schedule: Schedule, isTracing: boolean): World {
  const { options } = schedule
  const timeline = createTimeline()
  const random = randomFrom(options.seed)
  const log: string[] | null = isTracing ? [] : null
  const counts = new Map<string, number>()
  const nodes = createNodes(options, random)
  const sites = [...nodes.map(({ name }) => name), 'witness', 'api']
  const first = genesis(
    clusterId('sim'),
    nodes.map((node) => ({ node: node.name, room: node.room, incarnation: node.incarnation, addresses: [] })),
    room(options.preferredRoom ?? 'a'),
    options.hasWitness ? 'w0' : null,
  )
  const planned = new Map<Moment, number>()
  for (const { moment } of schedule.strikes) planned.set(moment, 0)
  const world: World = {
    options,
    schedule,
    timeline,
    random,
    nodes,
    nodeByName: new Map(nodes.map((node) => [node.name, node])),
    network: createNetwork(sites, nodes.length, options.paths, timeline, random),
    witness: createWitness(first),
    witnessSite: nodes.length,
    apiSite: nodes.length + 1,
    api: {
      isUp: true,
      isSlow: false,
      nodeVersions: [],
      pods: [],
      placement: [],
      taints: new Map(),
      outOfService: new Set(),
      unfenced: new Map(),
      backup: null,
    },
    volumes: createVolumes(options, nodes),
    copies: [],
    observer: createObserver(),
    genesis: first,
    counts,
    log,
    disksLost: 0,
    isRepaired: false,
    moments: planned,
    strikeCounts: new Map(),
    note: (text) => void log?.push(`${(timeline.nowMs / 1000).toFixed(3).padStart(9)} ${text}`),
    count: (what) => void counts.set(what, (counts.get(what) ?? 0) + 1),
    strike: (moment, node) => {
      const before = planned.get(moment)
      if (before === undefined || world.isRepaired) return
      planned.set(moment, before + 1)
      strikeAt(world, moment, before + 1, node)
    },
  }
  if (!options.hasWitness) world.witness.isUp = false
  for (const { vm, sides } of world.volumes) world.api.placement[vm] = sides[0].node
  for (const node of nodes) startAgent(world, node)
  startKernels(world)
  startKubelets(world)
  return world
}

function createNodes(options: WorldOptions, random: Random): SimNode[] {
  const { clockRateError } = options.timings
  const rate = (): number => (options.areClocksAtEdge ? rateOf(random, clockRateError) : 1 + random.between(-1, 1) * clockRateError)
  const nodes: SimNode[] = []
  for (const [r, count] of options.nodesOfRooms.entries())
    for (let i = 1; i <= count; i++) {
      const roomName = 'abc'[r] ?? 'z'
      const name = nodeId(`${roomName}${i}`)
      nodes.push({
        index: nodes.length,
        name,
        room: room(roomName),
        incarnation: incarnation(`${name}-1`),
        lives: 1,
        disk: createDisk(),
        boot: 1,
        life: 0,
        isPowered: true,
        isDeclaredDead: false,
        hasBooted: true,
        state: null,
        stoppedUntilMs: -Infinity,
        backlog: [],
        deafUntilMs: -Infinity,
        stallAgainMs: 0,
        starveLeft: 0,
        isStarving: false,
        isPetDue: false,
        isReleaseDue: false,
        hasLeft: false,
        saidTimes: 0,
        heardOf: new Map(),
        isTold: false,
        isCalling: false,
        hasRest: false,
        clock: { sinceMs: 0, localMs: random.between(0, 1e6), rate: rate() },
        watchdogPlan: 0,
        holdsWatchdog: false,
        watchdogFiresAtMs: Infinity,
        watchdogRate: rate(),
        guard: 'none',
        containment: 0,
        stuckUntilMs: -Infinity,
        wellSinceMs: 0,
        startedAtMs: 0,
        permitWarnedMs: 0,
      })
    }
  return nodes
}

/** Each VM at home on one node, its second replica in another room. */
function createVolumes(options: WorldOptions, nodes: readonly SimNode[]): Volume[] {
  const volumes: Volume[] = []
  for (let vm = 0; vm < options.vms; vm++) {
    const home = nodes[vm % nodes.length]
    const elsewhere = nodes.filter((node) => node.room !== home?.room)
    const second = elsewhere[(vm * 7 + 3) % elsewhere.length]
    if (home && second) volumes.push(createVolume(vm, [home.index, second.index], options.isFreezeMode))
  }
  return volumes
}
