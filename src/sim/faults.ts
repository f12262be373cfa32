/** What can go wrong, done to the world: each fault of a schedule, and the adversary's strikes at the protocol's own moments. */
import { FORCED_STEP, memberOf } from '../protocol/membership.ts'
import type { Durable } from '../protocol/state.ts'
import { crashAgent, feed, loseDisk, noteWell, resetNode, startAgent, stopAgent } from './agent.ts'
import { noteNodeWritten } from './api-call.ts'
import { changeRate } from './clock.ts'
import { leave } from './leave.ts'
import { durableOf } from './lost.ts'
import type { Fault, Moment, Strike } from './schedule.ts'
import { freshLink } from './network.ts'
import { restoreBackup } from './witness.ts'
import { isLive, migrate } from './workloads.ts'
import { type SimNode, type World } from './world.ts'

/** A witness restored while somebody held an accepted value, which may then be neither finished nor replaced: a person's case (docs/simulation.md). */
export const lostAmidChoice = 'memory lost amid a choice'

/** Sites that a target names. */
function sitesOf(world: World, target: string, at: SimNode | null): readonly number[] {
  if (target === 'witness') return [world.witnessSite]
  if (target === 'api') return [world.apiSite]
  if (at) {
    if (target === '@self') return [at.index]
    if (target === '@room') return world.nodes.filter((node) => node.room === at.room).map(({ index }) => index)
    if (target === '@others') return world.nodes.filter((node) => node.room !== at.room).map(({ index }) => index)
    if (target === '@peer')
      return world.nodes
        .filter((node) => node.room !== at.room)
        .slice(0, 1)
        .map(({ index }) => index)
  }
  return world.nodes.filter((node) => node.name === target || node.room === target).map(({ index }) => index)
}

const nodesOf = (world: World, target: string, at: SimNode | null): readonly SimNode[] =>
  sitesOf(world, target, at).flatMap((index) => world.nodes[index] ?? [])

export function strikeAt(world: World, moment: Moment, nth: number, at: SimNode): void {
  for (const strike of world.schedule.strikes)
    if (strike.moment === moment && countFor(world, strike, nth) === strike.nth) {
      world.note(`strike at ${moment} ${nth} on ${at.name}`)
      world.count('strikes')
      applyFault(world, strike.fault, at)
    }
}

function countFor(world: World, strike: Strike, nth: number): number {
  if (strike.fromMs === undefined) return nth
  const count = (world.strikeCounts.get(strike) ?? 0) + (world.timeline.nowMs >= strike.fromMs ? 1 : 0)
  world.strikeCounts.set(strike, count)
  return world.timeline.nowMs >= strike.fromMs ? count : -1
}

export function applyFault(world: World, fault: Fault, at: SimNode | null): void {
  if (world.isRepaired && fault.kind !== 'repair') return
  if (world.log && !(fault.kind === 'unfence' && world.timeline.nowMs > world.schedule.untilMs))
    world.note(`fault ${JSON.stringify(fault)}`)
  world.count(`fault ${fault.kind}`)
  const { network } = world
  switch (fault.kind) {
    case 'cut':
      return eachPair(world, fault.from, fault.to, at, fault.isOneWay, (from, to) => network.change(from, to, fault.path, { isCut: true }))
    case 'degrade': {
      const { loss, delayMs, jitterMs, duplicate } = fault
      return eachPair(world, fault.from, fault.to, at, true, (from, to) =>
        network.change(from, to, fault.path, { loss, delayMs, jitterMs, duplicate }),
      )
    }
    case 'filter':
      return eachPair(world, fault.from, fault.to, at, true, (from, to) => {
        const filters = new Map(network.link(from, to, 0).filters)
        if (fault.lateMs === 0) filters.delete(fault.message)
        else filters.set(fault.message, fault.lateMs)
        network.change(from, to, null, { filters })
      })
    case 'flap':
      return flap(world, fault.from, fault.to, at, fault.everyMs, fault.times * 2)
    case 'heal':
      if (!fault.between) return network.heal()
      return eachPair(world, ...fault.between, at, false, (from, to) => network.change(from, to, null, freshLink()))
    case 'power-off':
      for (const node of nodesOf(world, fault.target, at)) {
        if (!node.isPowered) continue
        node.isPowered = false
        resetNode(world, node, 'power')
      }
      return
    case 'power-on':
      for (const node of nodesOf(world, fault.target, at)) {
        if (fault.isOverruled === true) node.isDeclaredDead = false
        powerOn(world, node)
      }
      return
    case 'crash':
      for (const node of nodesOf(world, fault.target, at)) crashAgent(world, node, fault.backMs)
      return
    case 'stop':
      for (const node of nodesOf(world, fault.target, at)) {
        if (fault.isDeaf === true) node.deafUntilMs = world.timeline.nowMs + fault.forMs
        stopAgent(world, node, fault.forMs)
      }
      return
    case 'stall':
      for (const node of nodesOf(world, fault.target, at)) {
        stopAgent(world, node, fault.forMs)
        node.stallAgainMs = fault.thenMs
      }
      return
    case 'brink':
      for (const node of nodesOf(world, fault.target, at)) {
        node.starveLeft = fault.times
        node.isStarving = false
      }
      return
    case 'clock':
      for (const node of nodesOf(world, fault.target, at)) changeRate(node.clock, fault.rate, world.timeline.nowMs)
      return
    case 'disk':
      for (const node of nodesOf(world, fault.target, at)) {
        if (fault.how === 'dead') {
          if (node.disk.synced?.membership) world.disksLost += 1
          loseDisk(world, node)
        } else {
          node.disk.how = fault.how
          noteWell(world, node)
        }
      }
      return
    case 'stuck':
      for (const node of nodesOf(world, fault.target, at)) node.stuckUntilMs = world.timeline.nowMs + fault.forMs
      return
    case 'witness':
      return witnessFault(world, fault.how)
    case 'api':
      return apiFault(world, fault.how)
    case 'unfence':
      for (const node of world.nodes)
        feed(world, node, { kind: 'unfence', nodes: nodesOf(world, fault.target, at).map(({ name }) => name), by: 'operator' })
      return
    case 'confirm-dead':
      return confirmDead(world, fault.target, at)
    case 'brake':
      for (const node of fault.at === undefined ? world.nodes : nodesOf(world, fault.at, at))
        feed(world, node, {
          kind: 'pause-fencing',
          isPaused: fault.isPaused,
          by: fault.at === undefined ? 'operator' : `operator at ${node.name}`,
        })
      return
    case 'maintenance':
      for (const node of world.nodes)
        feed(world, node, {
          kind: 'maintenance',
          nodes: nodesOf(world, fault.target, at).map(({ name }) => name),
          isOn: fault.isOn,
          by: 'operator',
        })
      return
    case 'leave':
      for (const node of nodesOf(world, fault.target, at)) leave(world, node, fault.backMs)
      return
    case 'migrate':
      return migrate(world, fault.vm)
    case 'repair':
      return repair(world)
  }
}

function eachPair(
  world: World,
  from: string,
  to: string,
  at: SimNode | null,
  isOneWay: boolean,
  act: (from: number, to: number) => void,
): void {
  for (const a of sitesOf(world, from, at))
    for (const b of sitesOf(world, to, at)) {
      if (a === b) continue
      act(a, b)
      if (!isOneWay) act(b, a)
    }
}

function flap(world: World, from: string, to: string, at: SimNode | null, everyMs: number, left: number): void {
  if (left <= 0 || world.isRepaired) return
  const isCut = left % 2 === 0
  eachPair(world, from, to, at, false, (a, b) => world.network.change(a, b, null, { isCut }))
  world.timeline.in(everyMs, () => flap(world, from, to, at, everyMs, left - 1))
}

/** Whoever was declared dead is switched on last: when somebody is up again who knows what was chosen without it. */
function powerOnLast(world: World, node: SimNode): void {
  const epoch = (world.observer.latest ?? world.genesis).epoch
  const others = world.nodes.filter((other) => !other.isDeclaredDead)
  const holds = (durable: Durable | null | undefined): boolean =>
    durable?.membership?.epoch === epoch || durable?.accepted?.membership.epoch === epoch
  const isKnown = others.some(({ disk }) => holds(disk.synced))
  const isUp = others.some(({ state }) => holds(state?.durable))
  if (isKnown && !isUp) return world.timeline.in(500, () => powerOnLast(world, node))
  node.isDeclaredDead = false
  powerOn(world, node)
}

function powerOn(world: World, node: SimNode): void {
  if (node.isPowered || node.isDeclaredDead) return
  node.isPowered = true
  resetNode(world, node, 'power')
}

function witnessFault(world: World, how: 'down' | 'up' | 'slow' | 'quick' | 'restore' | 'restore-earlier'): void {
  const { witness, options } = world
  if (!options.hasWitness) return
  if (how === 'restore' || how === 'restore-earlier') {
    const seen = world.nodes.map((node) => durableOf(node)?.witnessSeen)
    const lowest = Math.min(...seen.map((one) => (one?.incarnation === witness.register.incarnation ? one.version : -1)))
    const onDisk = Math.min(
      ...world.nodes.map(({ disk }) =>
        disk.synced?.witnessSeen?.incarnation === witness.register.incarnation ? disk.synced.witnessSeen.version : -1,
      ),
    )
    const { register } = witness
    const backup = restoreBackup(witness, Math.min(lowest, onDisk), how === 'restore-earlier')
    world.note(
      backup ? `the witness is restored to version ${backup.incarnation}.${backup.version}` : 'no backup that every node would recognise',
    )
    if (backup) world.count('witness restores')
    const isChoosing = register.accepted !== null || world.nodes.some((node) => durableOf(node)?.accepted)
    if (backup && isChoosing) world.count(lostAmidChoice)
    witness.goodSinceMs = Infinity
    return
  }
  if (how === 'down' || how === 'up') witness.isUp = how === 'up'
  else witness.isSlow = how === 'slow'
  witness.goodSinceMs = witness.isUp && !witness.isSlow ? world.timeline.nowMs : Infinity
}

function apiFault(world: World, how: 'down' | 'up' | 'slow' | 'quick' | 'rollback'): void {
  const { api } = world
  if (how === 'rollback') {
    if (!api.backup) {
      api.backup = { placement: [...api.placement], taints: [...api.taints] }
      return
    }
    // Placements stay: a kubelet that knows newer pods of its own is outside of this model (docs/simulation.md).
    api.taints.clear()
    for (const [index, epoch] of api.backup.taints) api.taints.set(index, epoch)
    for (const { index } of world.nodes) noteNodeWritten(world, index)
    api.outOfService.clear()
    api.backup = null
    world.count('api rollbacks')
    return
  }
  if (how === 'down' || how === 'up') api.isUp = how === 'up'
  else api.isSlow = how === 'slow'
}

/** How many forced epochs are in what this node knows. */
const forcedTimes = (node: SimNode): number => Math.floor((durableOf(node)?.membership?.epoch ?? 0) / FORCED_STEP)

/**
 * A person presses it at a bad moment, but is not wrong: nothing runs on those nodes, they have no power, and they had fenced nobody. They
 * get no power again before the rooms see each other (docs/protocol/operator.md).
 */
function confirmDead(world: World, target: string, at: SimNode | null): void {
  const dead = nodesOf(world, target, at).filter(
    (node) => !node.isPowered && !world.copies.some((copy) => copy.node === node.index && (isLive(copy) || copy.state === 'draining')),
  )
  if (dead.length === 0) return
  const names = new Set(dead.map(({ name }) => name))
  // Who went on by a forced epoch that nobody else knows has taken over.
  const others = world.nodes.filter((node) => !dead.includes(node))
  if (Math.max(...dead.map(forcedTimes)) > Math.max(0, ...others.map(forcedTimes))) return
  const { members } = world.observer.latest ?? world.genesis
  if (members.some(({ node, standing }) => standing !== 'fenced' && names.has(node))) {
    if (members.some(({ node, standing }) => standing === 'fenced' && !names.has(node))) return
    for (const node of dead) node.isDeclaredDead = true
  }
  const isDemand = dead.some((node) => node.isDeclaredDead)
  world.count('human proofs')
  for (const node of isDemand ? sideOf(world, dead) : world.nodes) {
    const known = node.state?.durable.membership
    // A word for a fence names it: who knows of no such fence takes it for nothing.
    const nodes = dead.filter(({ name }) => isDemand || (known && memberOf(known, name)?.standing === 'fenced')).map(({ name }) => name)
    if (nodes.length === 0) continue
    if (isDemand) node.isTold = true
    feed(world, node, { kind: 'confirm-dead', nodes, by: 'operator' })
  }
}

/**
 * Whom a word is given that stands in for votes: those who hear one another, and later the same ones. Told on two sides of a cut, both would go on; and who does not know of an epoch that was forced already has been overtaken by it.
 */
function sideOf(world: World, dead: readonly SimNode[]): readonly SimNode[] {
  const latest = world.observer.latest ?? world.genesis
  const most = Math.max(...world.nodes.map(forcedTimes))
  const able = world.nodes.filter(
    (node) => node.state && !dead.includes(node) && memberOf(latest, node.name)?.standing !== 'fenced' && forcedTimes(node) === most,
  )
  const first = able.find(({ isTold }) => isTold) ?? able[0]
  const paths = Array.from({ length: world.options.paths }, (_, path) => path)
  const hears = (node: SimNode): boolean => paths.some((path) => world.network.passes(first?.index ?? -1, node.index, path))
  return able.filter((node) => node === first || hears(node))
}

function repair(world: World): void {
  world.isRepaired = true
  world.network.heal()
  const { witness, api, timeline } = world
  witness.isUp = world.options.hasWitness
  witness.isSlow = false
  witness.goodSinceMs = timeline.nowMs
  api.isUp = true
  api.isSlow = false
  for (const node of world.nodes) {
    node.stuckUntilMs = Math.min(node.stuckUntilMs, timeline.nowMs)
    node.stallAgainMs = 0
    node.starveLeft = 0
    node.isStarving = false
    node.deafUntilMs = -Infinity
    node.disk.how = 'good'
    noteWell(world, node)
    if (node.isDeclaredDead) powerOnLast(world, node)
    else powerOn(world, node)
    if (node.hasLeft) startAgent(world, node)
    if (node.state?.isLeaving === true) crashAgent(world, node, 100)
    if (node.stoppedUntilMs > timeline.nowMs) {
      node.stoppedUntilMs = timeline.nowMs
      stopAgent(world, node, 0.001)
    }
  }
}
