/** The timers of a virtual agent: its ticks, and its pets of the watchdog. */
import { hasPermit, mayRunUntilMs } from '../../protocol/running.ts'
import { checkProofs } from '../observer/invariants.ts'
import { reachesApi } from '../world/links.ts'
import type { SimNode, World } from '../world/world.ts'
import { containNode } from './containment.ts'
import { executeFences } from './failover.ts'
import { pet, petEveryMs } from './petting.ts'
import { localMs, whenAwake } from './process.ts'
import { connectedPeers, isInSync, takeOverVolumes } from './takeover.ts'

const STORAGE_READ_MS = 500

export function startTimers(world: World, node: SimNode): void {
  const { tickMs, watchdogMs } = world.options
  const { life } = node
  const tickFirstInMs = world.random.between(0, tickMs)
  whenDue(
    world,
    node,
    tickFirstInMs,
    () => tickMs / node.clock.rate,
    tickOf(world, node),
    () => false,
  )
  const petFirstInMs = world.random.between(0, tickMs)
  if (watchdogMs === null) return
  const petNow = (): void => pet(world, node, life, watchdogMs)
  whenDue(
    world,
    node,
    petFirstInMs,
    () => petEveryMs(world, watchdogMs),
    petNow,
    () => node.isStarving,
  )
}

/** Again and again in this life of the agent. A stopped process finds each of its timers due once, however long it was stopped. */
function whenDue(world: World, node: SimNode, firstInMs: number, everyMs: () => number, act: () => void, isFirst: () => boolean): void {
  const { life } = node
  let isWaiting = false
  const actNow = (): void => {
    isWaiting = false
    act()
  }
  const next = (): void => {
    if (node.life !== life) return
    if (!isWaiting) {
      isWaiting = true
      whenAwake(world, node, actNow, isFirst())
    }
    world.timeline.in(everyMs(), next)
  }
  world.timeline.in(firstInMs, next)
}

/** What the agent does at each of its ticks. */
function tickOf(world: World, node: SimNode): () => void {
  const { timeline, options } = world
  const { life } = node
  let storageReadAtMs = -Infinity
  return () => {
    if (node.life !== life || !node.state) return
    if (timeline.nowMs - storageReadAtMs >= STORAGE_READ_MS) {
      storageReadAtMs = timeline.nowMs
      world.feed(node, { kind: 'api', isReachable: reachesApi(world, node) })
      world.feed(node, { kind: 'storage', connected: connectedPeers(world, node), isInSync: isInSync(world, node) })
    }
    world.feed(node, { kind: 'tick' })
    if (node.life !== life) return
    checkProofs(world, node)
    warnOfPermit(world, node)
    takeOverVolumes(world, node)
    if (node.life === life) executeFences(world, node)
    if (node.life === life && node.isReleaseDue && node.state.process.desired === 'none' && hasPermit(node.state, localMs(world, node)))
      containNode(world, node, 'none')
    if (node.life === life && node.isPetDue) pet(world, node, life, options.watchdogMs ?? 0)
  }
}

function warnOfPermit(world: World, node: SimNode): void {
  if (!world.moments.has('permit-ending') || !node.state || world.timeline.nowMs < node.permitWarnedMs) return
  const leftMs = mayRunUntilMs(node.state) - localMs(world, node)
  if (leftMs <= 0 || leftMs > 600) return
  node.permitWarnedMs = world.timeline.nowMs + 3_000
  world.strike('permit-ending', node)
}
