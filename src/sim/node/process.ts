/** The agent's process on a virtual node: awake, or asleep while what reaches it waits in its backlog. */
import { readClock } from '../world/clock.ts'
import type { SimNode, World } from '../world/world.ts'

const BACKLOG_LIMIT = 2_000

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
export function stopToBrink(world: World, node: SimNode): void {
  const leftMs = node.watchdogFiresAtMs - world.timeline.nowMs - BRINK_MS
  stopAgent(world, node, leftMs === Infinity ? 1_000 : Math.max(leftMs, 2 * BRINK_MS))
}

/** Notes since when a node has been as it should: power, agent, disk and timers. */
export function noteWell(world: World, node: SimNode): void {
  const { nowMs } = world.timeline
  const isWell =
    node.isPowered && node.state !== undefined && !node.state.process.isLeaving && node.stoppedUntilMs <= nowMs && node.disk.how === 'good'
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
