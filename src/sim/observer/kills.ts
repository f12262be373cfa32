/** Workloads that are ended on a node: only a fence kills (docs/failover.md, "Executing the fence"), and each fence excuses only what happens under it. */
import { memberOf } from '../../protocol/membership.ts'
import type { Copy, SimNode, World } from '../world/world.ts'
import { violate } from './violations.ts'
import { checkNoWriterLeft } from './writers.ts'

/**
 * Whether a fence of this node may be carried out there: from its choice until the node has learned its un-fence. Who skipped a fence kills for it
 * when it learns of it, once in each of its lives on a disk.
 */
function isUnderFence(world: World, node: SimNode): boolean {
  const known = node.state?.durable.membership ?? node.disk.synced?.membership
  const own = known && memberOf(known, node.name)
  if (own?.standing === 'fenced') return true
  if (own && own.lastFence > (world.observer.killedFor.get(node.incarnation) ?? 0)) return true
  for (const [epoch, membership] of world.observer.chosen)
    if (epoch > (known?.epoch ?? -1) && memberOf(membership, node.name)?.standing === 'fenced') return true
  return false
}

/** The agent has killed all that was here: the fences that it knows of have had their due. */
export function noteKillDone(world: World, node: SimNode): void {
  const known = node.state?.durable.membership
  const lastFence = known && memberOf(known, node.name)?.lastFence
  if (lastFence) world.observer.killedFor.set(node.incarnation, lastFence)
}

/** A paused workload is to go on where it stood: to kill it is as much a restart as to kill a running one. */
export function checkKilled(world: World, copy: Copy, why: string): void {
  const node = world.nodes[copy.node]
  if (node && why === 'contained' && !isUnderFence(world, node))
    violate(world, 'killed unfenced', `vm${copy.vm} was killed on ${node.name}, which is not fenced`)
}

/** The end of a pod is ordered for a fence only, and as long as that is not over on its node: let back, it waits until whatever is under way is done. */
export function checkOrdered(world: World, vm: number, from: number): void {
  checkNoWriterLeft(world, vm)
  const node = world.nodes[from]
  if (!node || isUnderFence(world, node) || !world.copies.some((copy) => copy.vm === vm && copy.node === from)) return
  const known = node.state?.durable
  const own = known?.membership && memberOf(known.membership, node.name)
  if (!known || (own && own.lastFence > known.freedEpoch)) return
  violate(world, 'killed unfenced', `the pod of vm${vm} is deleted, though its node ${node.name} is not fenced`)
}

/**
 * A reset kills as well. Without a fence it is right only where the agent was not able to contain or to pet: it was stopped, dead or without its disk, or
 * something could not be paused, within the last time that a pause and a watchdog may take. With a permit nothing is left to pause.
 */
export function checkKilledByReset(world: World, node: SimNode, reason: string, hasHadPermit: boolean): void {
  const isOwn = reason === 'watchdog' || reason.includes('not verified')
  if (!isOwn || isUnderFence(world, node)) return
  const { timings, watchdogMs } = world.options
  const withinMs = 2 * (timings.killMs + (watchdogMs ?? 0))
  const { nowMs } = world.timeline
  if (nowMs - node.wellSinceMs < withinMs || nowMs - node.stuckUntilMs < withinMs) return
  if (hasHadPermit) return violate(world, 'reboot with permit', `${node.name} was reset (${reason}) while it had a permit`)
  const live = world.copies.find(({ node: at, state }) => at === node.index && (state === 'running' || state === 'paused'))
  if (live)
    violate(
      world,
      'killed unfenced',
      `${node.name}, which is not fenced, was reset (${reason}) with vm${live.vm} on it, though nothing kept its agent from pausing`,
    )
}
