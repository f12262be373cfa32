/**
 * The failover, reduced to what its safety rests on, in its order: taint all, proof, out-of-service, data gate, delete. Any agent may do it, two at once
 * too; one call to the API a tick, so that everything else may happen between two of them.
 */
import { coordinator } from '../../protocol/contact.ts'
import { fencedNodes, type Member } from '../../protocol/membership.ts'
import { nodeProof } from '../../protocol/proof.ts'
import { hasPermit, isReliable, mustKill } from '../../protocol/running.ts'
import { checkOrdered } from '../observer/kills.ts'
import { checkDeclaredStopped } from '../observer/writers.ts'
import { type ApiWrite, nodeAsRead, noteNodeWritten, podAsRead, writeToApi } from '../world/api.ts'
import { reachesApi } from '../world/links.ts'
import { mayPromote, otherSide } from '../world/storage.ts'
import type { SimNode, World } from '../world/world.ts'
import { localMs, whenAwake } from './process.ts'
import { hasStorageProof } from './takeover.ts'

export function executeFences(world: World, node: SimNode): void {
  const { state } = node
  const membership = state?.durable.membership
  if (!state || !membership || !isReliable(state) || mustKill(state)) return
  if (world.api.taints.size === 0 && fencedNodes(membership).length === 0) return
  const nowMs = localMs(world, node)
  // Who has no permit may have been fenced itself, and what it knows of others undone.
  if (!hasPermit(state, nowMs)) return
  if (node.isCalling || coordinator(state, nowMs) !== node.name || !reachesApi(world, node)) return
  const fenced = membership.members.filter((member) => member.standing === 'fenced')
  if (taintOne(world, node, fenced)) return
  if (untaintOne(world, node, membership.epoch, fenced)) return
  for (const member of fenced) {
    const index = world.nodeByName.get(member.node)?.index ?? -1
    // Un-fenced by others since, or fenced anew: its taint is gone or another one, and this fence does nothing more to it.
    if (world.api.taints.get(index) !== member.lastFence) continue
    if (world.api.outOfService.has(index) && !world.api.placement.includes(index)) continue
    const isProved = nodeProof(state, member.node, nowMs).isProved
    if (isProved && !world.api.outOfService.has(index)) {
      writeToApi(world, node, {
        isAsRead: nodeAsRead(world, index),
        apply: () => {
          world.api.outOfService.add(index)
          noteNodeWritten(world, index)
          world.note(`${node.name} sets ${member.node} out of service`)
          checkDeclaredStopped(world, index)
        },
      })
      return
    }
    for (const volume of world.volumes) {
      if (world.api.placement[volume.vm] !== index) continue
      if (!isProved && !hasStorageProof(world, node, volume.vm, member.node)) continue
      if (moveOne(world, node, volume.vm, index)) return
    }
  }
}

/**
 * Between its look at permit and state and the call itself the agent may be stopped, and then the write is late, or die. Who was stopped for longer than a
 * call may take has given it up when it goes on.
 */
function decideToWrite(world: World, node: SimNode, moment: 'tainting' | 'ordering', write: ApiWrite): void {
  const { life } = node
  const lookedAtMs = localMs(world, node)
  world.strike(moment, node)
  if (node.life !== life) return
  if (node.stoppedUntilMs <= world.timeline.nowMs) return writeToApi(world, node, write)
  whenAwake(world, node, () => {
    if (node.life !== life || !reachesApi(world, node) || localMs(world, node) - lookedAtMs > world.options.timings.apiCallMs) return
    world.count('writes after a stop')
    if (write.isAsRead()) writeToApi(world, node, write)
  })
}

function taintOne(world: World, node: SimNode, fenced: readonly Member[]): boolean {
  for (const { node: name, lastFence } of fenced) {
    const index = world.nodeByName.get(name)?.index ?? -1
    if ((world.api.taints.get(index) ?? -1) >= lastFence || (world.api.unfenced.get(index) ?? -1) > lastFence) continue
    decideToWrite(world, node, 'tainting', {
      isAsRead: nodeAsRead(world, index),
      apply: () => {
        world.api.taints.set(index, lastFence)
        noteNodeWritten(world, index)
        world.note(`${node.name} taints ${name}`)
      },
    })
    return true
  }
  return false
}

/** Only taints of epochs that this agent has learned, of nodes that are fenced no more. */
function untaintOne(world: World, node: SimNode, epoch: number, fenced: readonly Member[]): boolean {
  for (const [index, taint] of world.api.taints) {
    const name = world.nodes[index]?.name
    if (taint > epoch || fenced.some((member) => member.node === name)) continue
    writeToApi(world, node, {
      isAsRead: nodeAsRead(world, index),
      apply: () => {
        world.api.taints.delete(index)
        world.api.outOfService.delete(index)
        world.api.unfenced.set(index, Math.max(epoch, world.api.unfenced.get(index) ?? -1))
        noteNodeWritten(world, index)
        world.note(`${node.name} removes the taint of ${name}`)
      },
    })
    return true
  }
  return false
}

/** Deletes the pod of one VM, once its other replica can take it. */
function moveOne(world: World, node: SimNode, vm: number, from: number): boolean {
  const volume = world.volumes[vm]
  const side = volume?.sides.find((one) => one.node !== from)
  const target = side && world.nodes[side.node]
  if (!volume || !side || !target || side.state !== 'UpToDate' || !side.wasUpToDate) return false
  if (!target.isPowered || world.api.taints.has(target.index)) return false
  if (otherSide(volume, side).isPrimary && side.connection === 'Connected') return false
  if (!mayPromote(volume, side)) return false
  decideToWrite(world, node, 'ordering', {
    isAsRead: podAsRead(world, vm),
    apply: () => {
      world.api.placement[vm] = undefined
      world.count('failovers')
      world.note(`${node.name} deletes the pod of vm${vm} on ${world.nodes[from]?.name}`)
      checkOrdered(world, vm, from)
    },
  })
  return true
}
