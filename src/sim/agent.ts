/** The virtual agent: the same step(), mayPet() and proofs as the real one, with a disk, timers and await points that can fail between any two of them. */
import { bootId } from '../protocol/ids.ts'
import { holdsPermit, mayPet, mayRunUntilMs } from '../protocol/running.ts'
import { type Effect, type Input, start } from '../protocol/state.ts'
import { step } from '../protocol/step.ts'
import { readClock } from './clock.ts'
import { askWitness, deliver } from './delivery.ts'
import { afterPowerLoss, afterProcessCrash, createDisk, writeDisk } from './disk.ts'
import { carryOutFences, reachesApi } from './failover.ts'
import { connectedPeers, isInSync, takeOverVolumes } from './takeover.ts'
import { announce } from './moments.ts'
import { checkAcks, checkProofs, checkPromise } from './invariants.ts'
import { containNode, isAllBound, killCopiesAtReset } from './workloads.ts'
import { simulatedBrakes, type SimNode, type World } from './world.ts'

const BACKLOG_LIMIT = 2_000
const STORAGE_READ_MS = 500
const PETS_A_PERIOD = 5
/** So close before its watchdog fires does an adversary let a process run. */
const BRINK_MS = 2

export const localMs = (world: World, node: SimNode): number => readClock(node.clock, world.timeline.nowMs)

/** Runs `act` in this life of the agent: now, or when it is running again. Order is kept. */
export function whenAwake(world: World, node: SimNode, act: () => void, isFirst = false): void {
  if (node.stoppedUntilMs <= world.timeline.nowMs && node.backlog.length === 0) return act()
  if (node.backlog.length >= BACKLOG_LIMIT) return
  // Timers that are due run in any order, but not before what the process was in the middle of.
  if (isFirst) node.backlog.splice(node.hasRest ? 1 : 0, 0, act)
  else node.backlog.push(act)
}

/** Stopped until its watchdog is about to fire; without one, for a second. */
function stopToBrink(world: World, node: SimNode): void {
  const leftMs = node.watchdogFiresAtMs - world.timeline.nowMs - BRINK_MS
  stopAgent(world, node, leftMs === Infinity ? 1_000 : Math.max(leftMs, 2 * BRINK_MS))
}

/** Notes since when a node has been as it should: power, agent, disk and timers. */
export function noteWell(world: World, node: SimNode): void {
  const { nowMs } = world.timeline
  const isWell =
    node.isPowered && node.state !== null && !node.state.process.isLeaving && node.stoppedUntilMs <= nowMs && node.disk.how === 'good'
  if (!isWell) node.wellSinceMs = Infinity
  else if (node.wellSinceMs === Infinity) node.wellSinceMs = nowMs
}

export const isDeaf = (world: World, node: SimNode): boolean => node.deafUntilMs > world.timeline.nowMs

export function stopAgent(world: World, node: SimNode, forMs: number): void {
  if (!node.state) return
  const untilMs = world.timeline.nowMs + forMs
  if (untilMs <= node.stoppedUntilMs) return
  node.stoppedUntilMs = untilMs
  node.wellSinceMs = Infinity
  const { life } = node
  world.timeline.at(untilMs, () => {
    if (node.life !== life || node.stoppedUntilMs > world.timeline.nowMs) return
    noteWell(world, node)
    drain(world, node)
  })
}

function drain(world: World, node: SimNode): void {
  const { backlog, life } = node
  node.backlog = []
  for (let i = 0; i < backlog.length; i++) {
    if (node.life !== life) return
    if (node.stoppedUntilMs > world.timeline.nowMs) {
      node.backlog = [...node.backlog, ...backlog.slice(i)]
      return
    }
    backlog[i]?.()
    if (node.stallAgainMs > 0) {
      const againMs = node.stallAgainMs
      node.stallAgainMs = 0
      stopAgent(world, node, againMs)
    } else if (node.isStarving) {
      node.starveLeft -= 1
      node.isStarving = node.starveLeft > 0
      stopToBrink(world, node)
    }
  }
}

export function feed(world: World, node: SimNode, input: Input): void {
  if (!node.state) return
  if (node.stoppedUntilMs > world.timeline.nowMs || node.backlog.length > 0) {
    const { life } = node
    return whenAwake(world, node, () => {
      if (node.life === life) run(world, node, input)
    })
  }
  run(world, node, input)
}

function run(world: World, node: SimNode, input: Input): void {
  if (!node.state) return
  const { durable } = node.state
  const { isInstalled } = node.state.epoch
  const { life } = node
  const result = step(node.state, input, localMs(world, node))
  node.state = result.state
  const { membership, accepted } = node.state.durable
  if (accepted && accepted !== durable.accepted) world.observer.accepted(world, node, accepted)
  if (membership && membership !== durable.membership) world.observer.learned(world, node, membership)
  checkPromise(world, node, durable, node.state.durable)
  if (input.kind === 'message') checkAcks(world, node, result.effects)
  world.observer.decided(world, node, result.effects)
  if (!isInstalled && node.state.epoch.isInstalled) world.strike('installed', node)
  if (node.life !== life) return
  if (result.effects.length > 0) carryOut(world, node, result.effects, 0)
}

/** One effect after the other; the agent may die or be stopped between any two. */
function carryOut(world: World, node: SimNode, effects: readonly Effect[], from: number): void {
  const { life } = node
  for (let i = from; i < effects.length; i++) {
    const effect = effects[i]
    if (!effect) continue
    if (world.moments.size > 0) announce(world, node, effect)
    if (node.life !== life) return
    if (node.stoppedUntilMs > world.timeline.nowMs) {
      const rest = i
      // Before whatever arrived meanwhile: an agent is one thread.
      node.hasRest = true
      node.backlog.unshift(() => {
        node.hasRest = false
        if (node.life === life) carryOut(world, node, effects, rest)
      })
      return
    }
    carryOutOne(world, node, effect)
    if (node.life !== life) return
  }
}

function carryOutOne(world: World, node: SimNode, effect: Effect): void {
  const { life } = node
  switch (effect.kind) {
    case 'persist':
      writeDisk(node.disk, effect.durable, world.timeline, world.random, (isWritten) => {
        if (node.life !== life || !node.isPowered) return
        if (isWritten) {
          node.disk.synced = effect.durable
          if (effect.durable.membership) world.observer.remembered(effect.durable.membership)
          if (node.disk.inFlight === effect.durable) node.disk.inFlight = null
          world.strike('persisted', node)
          if (node.life === life) feed(world, node, { kind: 'persisted', version: effect.version })
        } else feed(world, node, { kind: 'persist-failed', reason: 'no space left on device' })
      })
      return
    case 'send':
      return deliver(world, node, effect.to, effect.message)
    case 'witness':
      return askWitness(world, node, effect.request)
    case 'contain':
      if (effect.level === 'pause' && node.guard === 'none') world.observer.contained(world, node)
      return containNode(world, node, effect.level)
    case 'check-bound': {
      const { life } = node
      const { lastFence } = effect
      world.timeline.in(world.random.between(1, 30), () => {
        if (node.life === life && reachesApi(world, node) && isAllBound(world, node)) feed(world, node, { kind: 'bound', lastFence })
      })
      return
    }
    case 'reboot':
      world.note(`${node.name} reboots: ${effect.reason}`)
      world.count('reboots ordered')
      return resetNode(world, node, effect.reason)
    case 'learned':
      return
    case 'note':
      world.count(`note ${effect.code}`)
      if (world.log) world.note(`${node.name} ${effect.code}: ${effect.text}`)
  }
}

export function startAgent(world: World, node: SimNode): void {
  const { timeline, options } = world
  node.life += 1
  node.hasBooted = true
  node.stoppedUntilMs = -Infinity
  node.backlog = []
  node.hasRest = false
  node.isStarving = false
  node.isPetDue = false
  node.isCalling = false
  node.hasLeft = false
  node.heardOf.clear()
  node.startedAtMs = timeline.nowMs
  const { life } = node
  if (node.disk.synced?.membership) world.observer.remembered(node.disk.synced.membership)
  node.state = start({
    self: {
      node: node.name,
      room: node.room,
      incarnation: node.incarnation,
      bootId: bootId(`${node.name}-boot${node.boot}`),
      addresses: [],
    },
    timings: options.timings,
    brakes: simulatedBrakes,
    durable: node.disk.synced,
    nowMs: localMs(world, node),
    seed: world.random.integer(1, 1e9),
  })
  noteWell(world, node)
  if (timeline.nowMs > 0) world.note(`${node.name} agent starts (boot ${node.boot}, incarnation ${node.incarnation})`)
  if (node.disk.synced === null && node.lives === 1) feed(world, node, { kind: 'genesis', membership: world.genesis })
  feed(world, node, { kind: 'watchdog', timeoutMs: options.watchdogMs })
  feed(world, node, { kind: 'contained', level: node.guard, isVerified: true })
  // The agent opens the device with its first permit; one that an earlier life opened runs on and is not petted by a mere start.
  if (options.watchdogMs !== null && node.watchdogFiresAtMs === Infinity) petWatchdog(world, node, options.watchdogMs)
  let storageReadAtMs = -Infinity
  const tick = (): void => {
    if (node.life !== life || !node.state) return
    if (timeline.nowMs - storageReadAtMs >= STORAGE_READ_MS) {
      storageReadAtMs = timeline.nowMs
      feed(world, node, { kind: 'api', isReachable: reachesApi(world, node) })
      feed(world, node, { kind: 'storage', connected: connectedPeers(world, node), isInSync: isInSync(world, node) })
    }
    feed(world, node, { kind: 'tick' })
    if (node.life !== life) return
    checkProofs(world, node)
    warnOfPermit(world, node)
    takeOverVolumes(world, node)
    if (node.life === life) carryOutFences(world, node)
    if (node.life === life && node.isReleaseDue && node.state.process.desired === 'none' && holdsPermit(node.state, localMs(world, node)))
      containNode(world, node, 'none')
    if (node.life === life && node.isPetDue) pet(world, node, life, options.watchdogMs ?? 0)
  }
  // A stopped process finds each of its timers due once, however long it was stopped.
  let isTickWaiting = false
  const tickNow = (): void => {
    isTickWaiting = false
    tick()
  }
  const nextTick = (): void => {
    if (node.life !== life) return
    if (!isTickWaiting) {
      isTickWaiting = true
      whenAwake(world, node, tickNow)
    }
    timeline.in(options.tickMs / node.clock.rate, nextTick)
  }
  let isPetWaiting = false
  const nextPet = (): void => {
    if (node.life !== life || options.watchdogMs === null) return
    if (!isPetWaiting) {
      isPetWaiting = true
      const petNow = (): void => {
        isPetWaiting = false
        pet(world, node, life, options.watchdogMs ?? 0)
      }
      whenAwake(world, node, petNow, node.isStarving)
    }
    timeline.in(petEveryMs(world, options.watchdogMs), nextPet)
  }
  timeline.in(world.random.between(0, options.tickMs), nextTick)
  timeline.in(world.random.between(0, options.tickMs), nextPet)
}

const petEveryMs = ({ options }: World, watchdogMs: number): number => watchdogMs / (options.petsAPeriod ?? PETS_A_PERIOD)

/** The agent may be stopped before its look at the permit, and between that and the write to the device. */
function pet(world: World, node: SimNode, life: number, watchdogMs: number): void {
  if (node.life !== life || !node.state) return
  const { desired, contained } = node.state.process
  if (node.starveLeft > 0 && !node.isStarving && desired === 'pause' && contained.level === 'none') {
    node.isStarving = true
    stopToBrink(world, node)
    return whenAwake(world, node, () => pet(world, node, life, watchdogMs))
  }
  node.isPetDue = !mayPet(node.state, localMs(world, node))
  if (node.isPetDue) return
  // Nearly always nobody waits for this pet, and then nobody needs to know how much of the permit is left.
  const isWaitedFor = node.starveLeft > 0 || world.moments.has('petting') || world.moments.has('last-pet')
  const leftMs = isWaitedFor ? mayRunUntilMs(node.state) - localMs(world, node) : Infinity
  if (isWaitedFor) {
    world.strike('petting', node)
    if (leftMs > 0 && leftMs < petEveryMs(world, watchdogMs) + 100 && node.life === life) world.strike('last-pet', node)
  }
  if (node.starveLeft > 0 && !node.isStarving && leftMs > 0 && leftMs < petEveryMs(world, watchdogMs) * node.clock.rate) {
    world.note(`${node.name} is starved from its last pet on`)
    node.isStarving = true
    node.hasRest = true
    stopToBrink(world, node)
  }
  whenAwake(world, node, () => {
    node.hasRest = false
    if (node.life === life) petWatchdog(world, node, watchdogMs)
  })
}

function petWatchdog(world: World, node: SimNode, watchdogMs: number): void {
  const plan = ++node.watchdogPlan
  node.holdsWatchdog = true
  node.watchdogFiresAtMs = world.timeline.nowMs + watchdogMs / node.watchdogRate
  world.timeline.at(node.watchdogFiresAtMs, () => {
    if (node.watchdogPlan !== plan || !node.isPowered) return
    world.note(`${node.name} watchdog fires`)
    world.count('watchdog resets')
    resetNode(world, node, 'watchdog')
  })
}

function warnOfPermit(world: World, node: SimNode): void {
  if (!world.moments.has('permit-ending') || !node.state || world.timeline.nowMs < node.permitWarnedMs) return
  const leftMs = mayRunUntilMs(node.state) - localMs(world, node)
  if (leftMs <= 0 || leftMs > 600) return
  node.permitWarnedMs = world.timeline.nowMs + 3_000
  world.strike('permit-ending', node)
}

export function crashAgent(world: World, node: SimNode, backMs: number): void {
  if (!node.state) return
  world.note(`${node.name} agent crashes`)
  // The kernel pets once when the process that holds the device dies (Linux, watchdog_release).
  if (node.holdsWatchdog && node.watchdogFiresAtMs !== Infinity) petWatchdog(world, node, world.options.watchdogMs ?? 0)
  node.holdsWatchdog = false
  node.state = null
  node.backlog = []
  node.life += 1
  node.wellSinceMs = Infinity
  afterProcessCrash(node.disk, world.random)
  const { life, boot } = node
  world.timeline.in(backMs, () => {
    if (node.life === life && node.boot === boot && node.isPowered) startAgent(world, node)
  })
}

export function resetNode(world: World, node: SimNode, reason: string): void {
  world.observer.reset(world, node, reason, node.state !== null && holdsPermit(node.state, localMs(world, node)))
  killCopiesAtReset(world, node)
  node.state = null
  node.backlog = []
  node.life += 1
  node.boot += 1
  node.watchdogPlan += 1
  node.watchdogFiresAtMs = Infinity
  node.holdsWatchdog = false
  node.starveLeft = 0
  node.isStarving = false
  node.hasBooted = false
  node.hasLeft = false
  node.guard = 'pause'
  node.stuckUntilMs = -Infinity
  node.wellSinceMs = Infinity
  afterPowerLoss(node.disk)
  if (!node.isPowered) return
  const { boot } = node
  const [low, high] = world.options.rebootMs
  world.timeline.in(world.random.between(low, high), () => {
    if (node.isPowered && node.boot === boot && !node.state) startAgent(world, node)
  })
}

/** The state directory is gone: what comes back is another incarnation, on an empty disk. */
export function loseDisk(world: World, node: SimNode): void {
  world.note(`${node.name} loses its disk`)
  resetNode(world, node, 'disk lost')
  node.disk = createDisk()
  node.lives += 1
  node.incarnation = `${node.name}-${node.lives}` as SimNode['incarnation']
}
