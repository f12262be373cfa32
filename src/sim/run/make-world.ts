/** Makes the virtual world: it puts the parts together, wires the calls by which they reach one another, and starts every node. */
import { clusterId, incarnation, nodeId, room } from '../../protocol/ids.ts'
import { genesis } from '../../protocol/membership.ts'
import { strikeAt } from '../faults/faults.ts'
import { feed } from '../node/agent.ts'
import { startKernels } from '../node/kernels.ts'
import { startKubelets } from '../node/kubelets.ts'
import { resetNode, startAgent } from '../node/life.ts'
import { type Random, randomFrom, rateOf } from '../schedule/random.ts'
import type { Moment, Schedule, WorldOptions } from '../schedule/schedule.ts'
import { createDisk } from '../world/disk.ts'
import { createNetwork } from '../world/network.ts'
import { createObservations } from '../world/observations.ts'
import { createVolume, type Volume } from '../world/storage.ts'
import { createTimeline } from '../world/timeline.ts'
import { createWitness } from '../world/witness.ts'
import type { SimApi, SimNode, World } from '../world/world.ts'

export function createWorld(schedule: Schedule, isTracing: boolean): World {
  const { options } = schedule
  const timeline = createTimeline()
  const random = randomFrom(options.seed)
  const log: string[] | undefined = isTracing ? [] : undefined
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
    api: createApi(),
    volumes: createVolumes(options, nodes),
    copies: [],
    observer: createObservations(),
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
    feed: (node, input) => feed(world, node, input),
    reset: (node, reason) => resetNode(world, node, reason),
  }
  if (!options.hasWitness) world.witness.isUp = false
  for (const { vm, sides } of world.volumes) world.api.placement[vm] = sides[0].node
  for (const node of nodes) startAgent(world, node)
  startKernels(world)
  startKubelets(world)
  return world
}

const createApi = (): SimApi => ({
  isUp: true,
  isSlow: false,
  nodeVersions: [],
  pods: [],
  placement: [],
  taints: new Map(),
  outOfService: new Set(),
  unfenced: new Map(),
  backup: undefined,
})

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
        state: undefined,
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
        hasWatchdog: false,
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
