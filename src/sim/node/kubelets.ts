/** Kubernetes itself: the scheduler that binds pending pods, and the kubelets that start and end copies. */
import { checkStart, checkWriters } from '../observer/writers.ts'
import { bindPod } from '../world/api.ts'
import { liveCopy } from '../world/copies.ts'
import { reachesApi } from '../world/links.ts'
import { mayPromote, sideOn, type Volume } from '../world/storage.ts'
import type { Copy, SimNode, World } from '../world/world.ts'
import { kill } from './workloads.ts'

const KUBELET_TURN_MS = 500

export function startKubelets(world: World): void {
  for (const volume of world.volumes) startCopy(world, volume, volume.sides[0].node)
  const turn = (): void => {
    schedulePods(world)
    for (const node of world.nodes) if (node.isPowered && node.hasBooted && reachesApi(world, node)) syncKubelet(world, node)
    world.timeline.in(KUBELET_TURN_MS, turn)
  }
  world.timeline.in(KUBELET_TURN_MS, turn)
}

/** Kubernetes' own scheduler: a pending pod goes to a node that can open its volume and has no taint. */
function schedulePods(world: World): void {
  if (!world.api.isUp) return
  for (const volume of world.volumes) {
    if (world.api.placement[volume.vm] !== undefined) continue
    const side = volume.sides.find((one) => {
      const node = world.nodes[one.node]
      return (
        node?.isPowered === true && node.hasBooted && reachesApi(world, node) && !world.api.taints.has(one.node) && mayPromote(volume, one)
      )
    })
    if (side) bindPod(world, volume.vm, side.node)
  }
}

function syncKubelet(world: World, node: SimNode): void {
  for (const volume of world.volumes) {
    const { vm } = volume
    const copy = liveCopy(world, vm, node.index)
    if (world.api.placement[vm] === node.index) {
      if (copy && (copy.state !== 'incoming' || volume.isMigrating)) continue
      if (copy) kill(world, copy, 'migration ended')
      startCopy(world, volume, node.index)
    } else if (copy && !(copy.state === 'incoming' && volume.isMigrating)) kill(world, copy, 'its pod is gone')
  }
}

/** A pod's start: contained like the rest of its node, and only where DRBD lets the volume be opened. */
function startCopy(world: World, volume: Volume, index: number): void {
  const node = world.nodes[index]
  const side = sideOn(volume, index)
  if (!node || !side || node.guard === 'kill' || !mayPromote(volume, side)) return
  world.strike('starting', node)
  if (!node.isPowered || !node.hasBooted) return
  side.isPrimary = true
  const copy: Copy = { vm: volume.vm, node: index, state: node.guard === 'pause' ? 'paused' : 'running', sinceMs: world.timeline.nowMs }
  world.copies.push(copy)
  world.count('starts')
  if (world.log && world.timeline.nowMs > 0) world.note(`vm${copy.vm} starts on ${node.name}, ${copy.state}`)
  checkStart(world, volume, side)
  checkWriters(world, copy.vm)
}
