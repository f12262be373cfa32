/** The virtual agent: the same step() as the real one, fed with what happens, and held to its promises after each step. */
import type { Input } from '../../protocol/state.ts'
import { step } from '../../protocol/step.ts'
import { noteAccepted, noteLearned } from '../observer/epochs.ts'
import { checkAcks, checkPromise } from '../observer/invariants.ts'
import { checkRelease } from '../observer/writers.ts'
import { violate } from '../observer/violations.ts'
import type { SimNode, World } from '../world/world.ts'
import { execute } from './effects.ts'
import { localMs, whenAwake } from './process.ts'

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
  const wasBroken = node.state.process.broken !== undefined
  const result = step(node.state, input, localMs(world, node))
  node.state = result.state
  const { membership, accepted } = node.state.durable
  if (accepted && accepted !== durable.accepted) noteAccepted(world, node, accepted)
  if (membership && membership !== durable.membership) noteLearned(world, node, membership)
  checkPromise(world, node, durable, node.state.durable)
  if (input.kind === 'message') checkAcks(world, node, result.effects)
  checkRelease(world, node, result.effects)
  const { broken } = node.state.process
  if (broken && !wasBroken) violate(world, 'invariant', `${node.name}: ${broken.invariant}: ${broken.text}`)
  if (!isInstalled && node.state.epoch.isInstalled) world.strike('installed', node)
  if (node.life !== life) return
  if (result.effects.length > 0) execute(world, node, result.effects, 0)
}
