/** Live migration of a virtual machine to the node of its other replica. */
import { bindPod } from '../world/api.ts'
import { liveCopy } from '../world/copies.ts'
import { reachesApi, storagePasses } from '../world/links.ts'
import { demote, otherSide } from '../world/storage.ts'
import type { Copy, World } from '../world/world.ts'
import { forget, kill, setCopy } from './workloads.ts'

/** Dropped when either end, the link or the API does not hold out. */
export function migrate(world: World, vm: number): void {
  const volume = world.volumes[vm]
  const from = volume?.sides.find((side) => side.node === world.api.placement[vm])
  const to = volume && from && otherSide(volume, from)
  if (!volume || !from || !to || volume.isMigrating) return
  const source = world.nodes[from.node]
  const target = world.nodes[to.node]
  const isPossible = (): boolean =>
    source !== undefined &&
    target !== undefined &&
    reachesApi(world, source) &&
    reachesApi(world, target) &&
    from.connection === 'Connected' &&
    to.connection === 'Connected' &&
    storagePasses(world, from.node, to.node) &&
    from.state === 'UpToDate' &&
    to.state === 'UpToDate' &&
    source.guard === 'none' &&
    target.guard === 'none' &&
    !world.api.taints.has(to.node) &&
    world.api.placement[vm] === from.node &&
    liveCopy(world, vm, from.node)?.state === 'running'
  if (!isPossible() || !target || liveCopy(world, vm, to.node)) return
  volume.isMigrating = true
  to.isPrimary = true
  const incoming: Copy = { vm, node: to.node, state: 'incoming', sinceMs: world.timeline.nowMs }
  world.copies.push(incoming)
  world.count('migrations begun')
  world.note(`vm${vm} begins to move from ${source?.name} to ${target.name}`)
  world.timeline.in(world.random.between(800, 3_000), () => {
    if (!volume.isMigrating) return
    volume.isMigrating = false
    const outgoing = liveCopy(world, vm, from.node)
    if (incoming.state !== 'incoming' || !outgoing || !isPossible()) {
      if (incoming.state === 'incoming') kill(world, incoming, 'migration dropped')
      return
    }
    setCopy(world, outgoing, 'dead', 'moved')
    forget(world, outgoing)
    demote(from)
    bindPod(world, vm, to.node)
    world.count('migrations done')
    setCopy(world, incoming, 'running', 'moved')
  })
}
