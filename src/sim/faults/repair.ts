/** The end of all faults: everything works again. */
import { crashAgent, startAgent } from '../node/life.ts'
import { noteWell, stopAgent } from '../node/process.ts'
import type { World } from '../world/world.ts'
import { powerOn, powerOnLast } from './nodes.ts'

export function repair(world: World): void {
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
    if (node.hasConsented) startAgent(world, node)
    if (node.state?.process.isLeaving === true) crashAgent(world, node, 100)
    if (node.stoppedUntilMs > timeline.nowMs) {
      node.stoppedUntilMs = timeline.nowMs
      stopAgent(world, node, 0.001)
    }
  }
}
