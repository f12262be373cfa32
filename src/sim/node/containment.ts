/** A node's containment: pauses, kills or thaws what runs there, one workload after the other. */
import { hasPermit } from '../../protocol/running.ts'
import type { ContainmentLevel } from '../../protocol/process.ts'
import { noteKillDone } from '../observer/kills.ts'
import { isLive } from '../world/copies.ts'
import { demote, sideOn } from '../world/storage.ts'
import type { Copy, SimNode, World } from '../world/world.ts'
import { localMs, whenAwake } from './process.ts'
import { distrustReplica } from './takeover.ts'
import { kill, setCopy } from './workloads.ts'

/** Pauses, kills or thaws one workload after the other, verified at the end; the agent may be stopped or die at any point between. */
export function containNode(world: World, node: SimNode, level: ContainmentLevel): void {
  const { life, boot, timings } = { ...node, timings: world.options.timings }
  const plan = ++node.containment
  node.isReleaseDue = false
  const isStale = (): boolean => node.boot !== boot || node.life !== life || node.containment !== plan || !node.state
  const later = (lowMs: number, highMs: number, act: () => void): void =>
    world.timeline.in(world.random.between(lowMs, highMs), () => {
      if (!isStale())
        whenAwake(world, node, () => {
          if (!isStale()) act()
        })
    })
  // The permit may be away for a moment, unseen by the protocol's ticks, which then asks for nothing more: the release stays due.
  const isRefused = (): boolean => {
    node.isReleaseDue = level === 'none' && (!node.state || !hasPermit(node.state, localMs(world, node)))
    return node.isReleaseDue
  }
  const next = (done: number): void => {
    if (level !== 'none' && node.stuckUntilMs > world.timeline.nowMs) return later(150, 250, () => next(done))
    if (isRefused()) return
    const copy = world.copies.find((one) => one.node === node.index && needs(one, level))
    if (!copy || done > world.options.vms) {
      if (level === 'kill') {
        demoteAll(world, node)
        noteKillDone(world, node)
      }
      world.feed(node, { kind: 'contained', level, isVerified: true })
      return
    }
    if (level === 'kill') kill(world, copy, 'contained')
    else if (level === 'pause') pauseOne(world, node, copy)
    // The agent may be stopped between its look at the permit and the thaw.
    else
      return later(0, 5, () => {
        setCopy(world, copy, 'running', 'permit')
        later(0, 10, () => next(done + 1))
      })
    later(1, 15, () => next(done + 1))
  }
  later(1, Math.min(20, timings.killMs / 50), () => {
    if (isRefused()) return
    node.guard = level
    next(0)
  })
}

function pauseOne(world: World, node: SimNode, copy: Copy): void {
  setCopy(world, copy, 'paused', 'no permit')
  if (world.copies.some((one) => one.node === node.index && needs(one, 'pause'))) world.strike('half-paused', node)
}

function needs(copy: Copy, level: ContainmentLevel): boolean {
  if (level === 'kill') return isLive(copy)
  return copy.state === (level === 'pause' ? 'running' : 'paused')
}

function demoteAll(world: World, node: SimNode): void {
  for (const volume of world.volumes) {
    const side = sideOn(volume, node.index)
    // Part of the kill, before it is said: what this node remembers of its replicas says nothing any more.
    if (side && side.connection !== 'Connected') distrustReplica(world, volume, side)
    if (side?.isPrimary && !world.copies.some((copy) => copy.vm === volume.vm && copy.node === node.index && isLive(copy))) demote(side)
  }
}
