/** P1 and P4: a virtual machine can be written by one copy alone, and starts from a replica that has what was acknowledged. */
import { hasPermit } from '../../protocol/running.ts'
import type { Effect } from '../../protocol/state.ts'
import { readClock } from '../world/clock.ts'
import { canWrite } from '../world/copies.ts'
import { contains, type Side, type Volume } from '../world/storage.ts'
import type { Copy, SimNode, World } from '../world/world.ts'
import { violate } from './violations.ts'

export function checkWriters(world: World, vm: number): void {
  let first: Copy | undefined
  for (const copy of world.copies) {
    if (copy.vm !== vm || !canWrite(world, copy)) continue
    if (first && first.node !== copy.node)
      violate(world, 'P1 single writer', `vm${vm} can write on ${world.nodes[first.node]?.name} and on ${world.nodes[copy.node]?.name}`)
    first = copy
  }
}

export function checkStart(world: World, volume: Volume, side: Side): void {
  const name = world.nodes[side.node]?.name
  // Not by what DRBD says of the replica, which it says wrongly of one that was left behind: by what is in it.
  const missed = world.options.isFreezeMode ? volume.acknowledged : volume.binding
  if (!contains(side.head, missed))
    violate(
      world,
      'P4 no stale start',
      `vm${volume.vm} starts on ${name} from a replica without a write that was acknowledged (${side.state}, write ${side.head?.depth ?? 0} of ${missed?.depth})`,
    )
}

/** Asked of the effects of a step: what is contained is let go with a permit alone. */
export function checkRelease(world: World, node: SimNode, effects: readonly Effect[]): void {
  for (const effect of effects)
    if (
      effect.kind === 'contain' &&
      effect.level === 'none' &&
      node.state &&
      !hasPermit(node.state, readClock(node.clock, world.timeline.nowMs))
    )
      violate(world, 'P1 single writer', `${node.name} frees what it has contained without a permit`)
}

export function checkDeclaredStopped(world: World, index: number): void {
  for (const copy of world.copies)
    if (copy.node === index && canWrite(world, copy))
      violate(world, 'P1 single writer', `${world.nodes[index]?.name} was declared out of service while vm${copy.vm} could write there`)
}

export function checkNoWriterLeft(world: World, vm: number): void {
  for (const copy of world.copies)
    if (copy.vm === vm && canWrite(world, copy))
      violate(world, 'P1 single writer', `vm${vm} was ordered elsewhere while its copy on ${world.nodes[copy.node]?.name} could write`)
}
