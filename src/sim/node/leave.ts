/** A planned stop of the agent: goodbye first, and the watchdog closed once a majority knows, as the shipped one does (src/agent/guard/guard.ts). */
import { mayCloseWatchdog } from '../../protocol/running.ts'
import { statementOf } from '../../protocol/step.ts'
import type { SimNode, World } from '../world/world.ts'
import { deliver } from './delivery.ts'
import { crashAgent } from './life.ts'

const ASK_EVERY_MS = 50

/** Who could take its leave is away so much longer than one whose time ran out. */
const AWAY_FACTOR = 8

/** Its workloads run on, without a permit and without a watchdog; whose withdrawal nobody acked within `backMs` ends with the watchdog armed. */
export function leave(world: World, node: SimNode, backMs: number): void {
  world.feed(node, { kind: 'leaving' })
  const { life } = node
  const untilMs = world.timeline.nowMs + backMs
  node.wellSinceMs = Infinity
  const ask = (): void => {
    const { state } = node
    if (node.life !== life || !state) return
    const isAwake = node.stoppedUntilMs <= world.timeline.nowMs && !node.hasRest
    if (isAwake && mayCloseWatchdog(state)) {
      world.note(`${node.name} closes its watchdog and leaves`)
      world.count('watchdogs closed')
      node.watchdogPlan += 1
      node.watchdogFiresAtMs = Infinity
      node.hasWatchdog = false
      const statement = statementOf(state)
      for (const { name } of world.nodes) if (name !== node.name) deliver(world, node, name, { kind: 'goodbye', statement })
      crashAgent(world, node, backMs * AWAY_FACTOR)
      node.hasLeft = true
    } else if (world.timeline.nowMs >= untilMs) crashAgent(world, node, 100)
    else world.timeline.in(Math.min(ASK_EVERY_MS, untilMs - world.timeline.nowMs), ask)
  }
  world.timeline.in(Math.min(ASK_EVERY_MS, backMs), ask)
}
