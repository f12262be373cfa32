/** The lives of a virtual agent: its start, its crash, the reset of its node and the loss of its disk. */
import { bootId } from '../../protocol/ids.ts'
import { holdsPermit } from '../../protocol/running.ts'
import { type Brakes, start } from '../../protocol/state.ts'
import { noteRemembered } from '../observer/epochs.ts'
import { checkReset } from '../observer/outage.ts'
import { afterPowerLoss, afterProcessCrash, createDisk } from '../world/disk.ts'
import type { SimNode, World } from '../world/world.ts'
import { localMs, noteWell } from './process.ts'
import { startTimers } from './ticking.ts'
import { petWatchdog } from './watchdog.ts'
import { killCopiesAtReset } from './workloads.ts'

const simulatedBrakes: Brakes = { isDryRun: false, maxFencedShare: 0.85, maxFencedShareOfRoom: 0.5 }

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
  if (node.disk.synced?.membership) noteRemembered(world, node.disk.synced.membership)
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
    durable: node.disk.synced ?? null,
    nowMs: localMs(world, node),
    seed: world.random.integer(1, 1e9),
  })
  noteWell(world, node)
  if (timeline.nowMs > 0) world.note(`${node.name} agent starts (boot ${node.boot}, incarnation ${node.incarnation})`)
  if (node.disk.synced === undefined && node.lives === 1) world.feed(node, { kind: 'genesis', membership: world.genesis })
  world.feed(node, { kind: 'watchdog', timeoutMs: options.watchdogMs })
  world.feed(node, { kind: 'contained', level: node.guard, isVerified: true })
  // The agent opens the device with its first permit; one that an earlier life opened runs on and is not petted by a mere start.
  if (options.watchdogMs !== null && node.watchdogFiresAtMs === Infinity) petWatchdog(world, node, options.watchdogMs)
  startTimers(world, node)
}

export function crashAgent(world: World, node: SimNode, backMs: number): void {
  if (!node.state) return
  world.note(`${node.name} agent crashes`)
  // The kernel pets once when the process that holds the device dies (Linux, watchdog_release).
  if (node.hasWatchdog && node.watchdogFiresAtMs !== Infinity) petWatchdog(world, node, world.options.watchdogMs ?? 0)
  node.hasWatchdog = false
  node.state = undefined
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
  checkReset(world, node, reason, node.state !== undefined && holdsPermit(node.state, localMs(world, node)))
  killCopiesAtReset(world, node)
  node.state = undefined
  node.backlog = []
  node.life += 1
  node.boot += 1
  node.watchdogPlan += 1
  node.watchdogFiresAtMs = Infinity
  node.hasWatchdog = false
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
