/** What the copies of a virtual machine are, and what each may write. */
import { otherSide, sideOn } from './storage.ts'
import type { Copy, SimNode, World } from './world.ts'

export const isLive = (copy: Copy): boolean => copy.state === 'running' || copy.state === 'paused' || copy.state === 'incoming'

export function liveCopy(world: World, vm: number, node: number): Copy | undefined {
  return world.copies.find((copy) => copy.vm === vm && copy.node === node && isLive(copy))
}

/** Whether the API server has every copy that is alive here on this node, as it is read now. */
export const isAllBound = (world: World, node: SimNode): boolean =>
  world.copies.every(
    (copy) => copy.node !== node.index || !isLive(copy) || copy.state === 'incoming' || world.api.placement[copy.vm] === node.index,
  )

export function canWrite(world: World, copy: Copy): boolean {
  if (copy.state === 'draining') return true
  if (copy.state !== 'running') return false
  const volume = world.volumes[copy.vm]
  const side = volume && sideOn(volume, copy.node)
  if (!volume || !side?.isPrimary || side.isSuspended) return false
  // Until the kernel notices that its peer has gone, a locked Primary's writes hang: nobody is told that they are safe.
  return !(side.isLocked && side.connection === 'Connected' && otherSide(volume, side).connection !== 'Connected')
}
