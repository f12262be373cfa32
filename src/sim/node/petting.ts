/** The agent's pet of its watchdog: the same mayPet() as the real one, and an adversary that starves the process around it. */
import { mayPet, mayRunUntilMs } from '../../protocol/running.ts'
import type { SimNode, World } from '../world/world.ts'
import { localMs, stopToBrink, whenAwake } from './process.ts'
import { petWatchdog } from './watchdog.ts'

const PETS_A_PERIOD = 5

export const petEveryMs = ({ options }: World, watchdogMs: number): number => watchdogMs / (options.petsAPeriod ?? PETS_A_PERIOD)

/** The agent may be stopped before its look at the permit, and between that and the write to the device. */
export function pet(world: World, node: SimNode, life: number, watchdogMs: number): void {
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
