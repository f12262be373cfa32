/** The watchdog of a node: armed by the first pet, and a reset where none follows. */
import type { SimNode, World } from '../world/world.ts'

export function petWatchdog(world: World, node: SimNode, watchdogMs: number): void {
  const plan = ++node.watchdogPlan
  node.hasWatchdog = true
  node.watchdogFiresAtMs = world.timeline.nowMs + watchdogMs / node.watchdogRate
  world.timeline.at(node.watchdogFiresAtMs, () => {
    if (node.watchdogPlan !== plan || !node.isPowered) return
    world.note(`${node.name} watchdog fires`)
    world.count('watchdog resets')
    world.reset(node, 'watchdog')
  })
}
