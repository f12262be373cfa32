/** Faults of what all nodes share: the witness and the API server. */
import { durableOf } from '../observer/lost.ts'
import type { FaultOf } from '../schedule/schedule.ts'
import { noteNodeWritten } from '../world/api.ts'
import { restoreBackup } from '../world/witness.ts'
import type { World } from '../world/world.ts'

/** A witness restored while somebody held an accepted value, which may then be neither finished nor replaced: a person's case (docs/simulation.md). */
export const LOST_AMID_CHOICE = 'memory lost amid a choice'

export function witnessFault(world: World, how: FaultOf<'witness'>['how']): void {
  const { witness, options } = world
  if (!options.hasWitness) return
  if (how === 'restore' || how === 'restore-earlier') {
    const seen = world.nodes.map((node) => durableOf(node)?.witnessSeen)
    const lowest = Math.min(...seen.map((one) => (one?.incarnation === witness.register.incarnation ? one.version : -1)))
    const onDisk = Math.min(
      ...world.nodes.map(({ disk }) =>
        disk.synced?.witnessSeen?.incarnation === witness.register.incarnation ? disk.synced.witnessSeen.version : -1,
      ),
    )
    const { register } = witness
    const backup = restoreBackup(witness, Math.min(lowest, onDisk), how === 'restore-earlier')
    world.note(
      backup ? `the witness is restored to version ${backup.incarnation}.${backup.version}` : 'no backup that every node would recognise',
    )
    if (backup) world.count('witness restores')
    const isChoosing = register.accepted !== null || world.nodes.some((node) => durableOf(node)?.accepted)
    if (backup && isChoosing) world.count(LOST_AMID_CHOICE)
    witness.goodSinceMs = Infinity
    return
  }
  if (how === 'down' || how === 'up') witness.isUp = how === 'up'
  else witness.isSlow = how === 'slow'
  witness.goodSinceMs = witness.isUp && !witness.isSlow ? world.timeline.nowMs : Infinity
}

export function apiFault(world: World, how: FaultOf<'api'>['how']): void {
  const { api } = world
  if (how === 'rollback') {
    if (!api.backup) {
      api.backup = { placement: [...api.placement], taints: [...api.taints] }
      return
    }
    // Placements stay: a kubelet that knows newer pods of its own is outside of this model (docs/simulation.md).
    api.taints.clear()
    for (const [index, epoch] of api.backup.taints) api.taints.set(index, epoch)
    for (const { index } of world.nodes) noteNodeWritten(world, index)
    api.outOfService.clear()
    api.backup = undefined
    world.count('api rollbacks')
    return
  }
  if (how === 'down' || how === 'up') api.isUp = how === 'up'
  else api.isSlow = how === 'slow'
}
