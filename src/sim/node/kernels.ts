/** The kernels of all nodes: DRBD's own timers, and one write of each running VM a turn. */
import { memberOf } from '../../protocol/membership.ts'
import { violate } from '../observer/violations.ts'
import { checkWriters } from '../observer/writers.ts'
import { storagePasses } from '../world/links.ts'
import { contains, otherSide, type Side, sideOn, turnVolume, type Volume, writeOnce } from '../world/storage.ts'
import type { World } from '../world/world.ts'

const KERNEL_TURN_MS = 250

/** DRBD with ping-int 1: a lost peer is noticed well within the detection. */
const PING_TIMEOUT_SHARE = 0.57

/** The kernels' own timers, and one write of each running VM. */
export function startKernels(world: World): void {
  const { timeline, options } = world
  const events = {
    nowMs: 0,
    pingTimeoutMs: options.timings.detectMs * PING_TIMEOUT_SHARE,
    passes: (a: number, b: number) => storagePasses(world, a, b),
    resyncMs: () => world.random.between(300, 4_000),
    splitBrain: (volume: Volume) => loserOf(world, volume),
    lost: (volume: Volume, side: Side) => {
      if (options.isFreezeMode)
        violate(world, 'lost-write', `vm${volume.vm}: a write that was acknowledged is on ${world.nodes[side.node]?.name} no more`)
    },
    frozen: (volume: Volume, side: Side) => {
      world.count('frozen primaries')
      if (world.log) world.note(`vm${volume.vm} on ${world.nodes[side.node]?.name} is frozen by DRBD`)
    },
  }
  const turn = (): void => {
    events.nowMs = timeline.nowMs
    for (const volume of world.volumes) turnVolume(volume, options.isFreezeMode, events)
    for (const copy of world.copies) {
      if (copy.state !== 'running') continue
      const volume = world.volumes[copy.vm]
      const side = volume && sideOn(volume, copy.node)
      if (!volume || !side) continue
      const peer = otherSide(volume, side).node
      writeOnce(volume, side, storagePasses(world, side.node, peer), isFencedInTruth(world, peer))
    }
    if (options.isFreezeMode) for (const volume of world.volumes) checkWriters(world, volume.vm)
    timeline.in(KERNEL_TURN_MS, turn)
  }
  timeline.in(KERNEL_TURN_MS, turn)
}

function isFencedInTruth({ nodes, observer }: World, index: number): boolean {
  const name = nodes[index]?.name
  return observer.latest !== undefined && name !== undefined && memberOf(observer.latest, name)?.standing === 'fenced'
}

/**
 * Without freeze mode both sides may have written. An administrator knows which room went on: the side without what was written there is thrown away, once
 * it is closed; where both have that or neither, what the side has that is not used.
 */
function loserOf(world: World, volume: Volume): Side | 'neither' {
  if (world.options.isFreezeMode) {
    violate(world, 'lost-write', `vm${volume.vm}: split brain in freeze mode`)
    return 'neither'
  }
  const [a, b] = volume.sides
  const hasAll = contains(a.head, volume.binding)
  if (hasAll !== contains(b.head, volume.binding)) {
    const behind = hasAll ? b : a
    return behind.isPrimary ? 'neither' : behind
  }
  if (a.isPrimary && b.isPrimary) return 'neither'
  if (a.isPrimary || b.isPrimary) return a.isPrimary ? b : a
  return world.api.placement[volume.vm] === a.node ? b : a
}
