/** Virtual machines where they really are: copies that run, are paused or dead, and what ends them. */
import { checkKilled } from '../observer/kills.ts'
import { checkWriters } from '../observer/writers.ts'
import { isLive } from '../world/copies.ts'
import { demote, rebootSide, sideOn, type Volume } from '../world/storage.ts'
import type { Copy, SimNode, World } from '../world/world.ts'

export function setCopy(world: World, copy: Copy, state: Copy['state'], why: string): void {
  if (copy.state === state || copy.state === 'dead' || (copy.state === 'draining' && state !== 'dead')) return
  copy.state = state
  if (world.log) world.note(`vm${copy.vm} on ${world.nodes[copy.node]?.name} is ${state} (${why})`)
  if (state === 'running') checkWriters(world, copy.vm)
}

const volumeOf = (world: World, vm: number): Volume | undefined => world.volumes[vm]

export function forget(world: World, copy: Copy): void {
  const at = world.copies.indexOf(copy)
  if (at >= 0) world.copies.splice(at, 1)
}

export function kill(world: World, copy: Copy, why: string): void {
  const isEnded = copy.state === 'running' || copy.state === 'paused'
  setCopy(world, copy, 'dead', why)
  const volume = volumeOf(world, copy.vm)
  const side = volume && sideOn(volume, copy.node)
  if (side && !world.copies.some((other) => other !== copy && other.vm === copy.vm && other.node === copy.node && isLive(other)))
    demote(side)
  forget(world, copy)
  if (isEnded) checkKilled(world, copy, why)
}

/** A reset ends everything on the node, but what was already handed to the disk may still arrive there. */
export function killCopiesAtReset(world: World, node: SimNode): void {
  for (const copy of world.copies.slice()) {
    if (copy.node !== node.index || copy.state === 'draining') continue
    const volume = world.volumes[copy.vm]
    // In freeze mode what is still on its way reaches this node's own disk, unacknowledged, and nobody else's.
    const isFreezing = volume && sideOn(volume, node.index)?.isLocked === true
    if (copy.state === 'running' && !isFreezing) {
      setCopy(world, copy, 'draining', 'reset')
      world.timeline.in(world.options.timings.ioResidueMs * Math.min(1, 1.6 * world.random.next()), () => {
        copy.state = 'dead'
        forget(world, copy)
      })
    } else {
      copy.state = 'dead'
      forget(world, copy)
    }
  }
  for (const volume of world.volumes) {
    const side = sideOn(volume, node.index)
    if (side) rebootSide(side, world.options.isFreezeMode)
    if (side) volume.isMigrating = false
  }
}
