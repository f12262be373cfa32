/** What a step asked for is carried out, with await points that can fail between any two effects. */
import type { Effect } from '../../protocol/state.ts'
import { noteRemembered } from '../observer/epochs.ts'
import { checkPause } from '../observer/outage.ts'
import { isAllBound } from '../world/copies.ts'
import { writeDisk } from '../world/disk.ts'
import { reachesApi } from '../world/links.ts'
import type { SimNode, World } from '../world/world.ts'
import { containNode } from './containment.ts'
import { askWitness, deliver } from './delivery.ts'
import { announce } from './moments.ts'

/** One effect after the other; the agent may die or be stopped between any two. */
export function execute(world: World, node: SimNode, effects: readonly Effect[], from: number): void {
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
        if (node.life === life) execute(world, node, effects, rest)
      })
      return
    }
    executeOne(world, node, effect)
    if (node.life !== life) return
  }
}

function executeOne(world: World, node: SimNode, effect: Effect): void {
  const { life } = node
  switch (effect.kind) {
    case 'persist':
      writeDisk(node.disk, effect.durable, world.timeline, world.random, (isWritten) => {
        if (node.life !== life || !node.isPowered) return
        if (isWritten) {
          node.disk.synced = effect.durable
          if (effect.durable.membership) noteRemembered(world, effect.durable.membership)
          if (node.disk.inFlight === effect.durable) node.disk.inFlight = undefined
          world.strike('persisted', node)
          if (node.life === life) world.feed(node, { kind: 'persisted', version: effect.version })
        } else world.feed(node, { kind: 'persist-failed', reason: 'no space left on device' })
      })
      return
    case 'send':
      return deliver(world, node, effect.to, effect.message)
    case 'witness':
      return askWitness(world, node, effect.request)
    case 'contain':
      if (effect.level === 'pause' && node.guard === 'none') checkPause(world, node)
      return containNode(world, node, effect.level)
    case 'check-bound': {
      const { lastFence } = effect
      world.timeline.in(world.random.between(1, 30), () => {
        if (node.life === life && reachesApi(world, node) && isAllBound(world, node)) world.feed(node, { kind: 'bound', lastFence })
      })
      return
    }
    case 'reboot':
      world.note(`${node.name} reboots: ${effect.reason}`)
      world.count('reboots')
      return world.reset(node, effect.reason)
    case 'learned':
      return
    case 'note':
      world.count(`note ${effect.code}`)
      if (world.log) world.note(`${node.name} ${effect.code}: ${effect.text}`)
  }
}
