/** Virtual machines where they really are: copies that run, are paused or dead, the kubelets that start them, and this node's containment. */
import { memberOf } from '../protocol/membership.ts'
import { holdsPermit } from '../protocol/running.ts'
import type { ContainmentLevel } from '../protocol/state.ts'
import { feed, localMs, whenAwake } from './agent.ts'
import { bindPod } from './api-call.ts'
import { reachesApi, schedulePods } from './failover.ts'
import { noteKillDone } from './kills.ts'
import { contains, demote, mayPromote, otherSide, rebootSide, type Side, sideOn, turnVolume, type Volume, writeOnce } from './storage.ts'
import { distrustReplica } from './takeover.ts'
import type { SimNode, World } from './world.ts'

export interface Copy {
  readonly vm: number
  readonly node: number
  /** `incoming`: the target of a live migration before the switch-over; `draining`: dead, its last writes still on the way to the disk. */
  state: 'running' | 'paused' | 'incoming' | 'draining' | 'dead'
  /** When it was started, true ms. */
  readonly sinceMs: number
}

const KERNEL_TURN_MS = 250
const KUBELET_TURN_MS = 500
/** DRBD with ping-int 1: a lost peer is noticed well within the detection. */
const PING_TIMEOUT_SHARE = 0.57

function setCopy(world: World, copy: Copy, state: Copy['state'], why: string): void {
  if (copy.state === state || copy.state === 'dead' || (copy.state === 'draining' && state !== 'dead')) return
  copy.state = state
  if (world.log) world.note(`vm${copy.vm} on ${world.nodes[copy.node]?.name} is ${state} (${why})`)
  if (state === 'running') world.observer.checkWriters(world, copy.vm)
}

export const isLive = (copy: Copy): boolean => copy.state === 'running' || copy.state === 'paused' || copy.state === 'incoming'

function liveCopy(world: World, vm: number, node: number): Copy | undefined {
  return world.copies.find((copy) => copy.vm === vm && copy.node === node && isLive(copy))
}

const volumeOf = (world: World, vm: number): Volume | undefined => world.volumes[vm]

function forget(world: World, copy: Copy): void {
  const at = world.copies.indexOf(copy)
  if (at >= 0) world.copies.splice(at, 1)
}

function kill(world: World, copy: Copy, why: string): void {
  const isEnded = copy.state === 'running' || copy.state === 'paused'
  setCopy(world, copy, 'dead', why)
  const volume = volumeOf(world, copy.vm)
  const side = volume && sideOn(volume, copy.node)
  if (side && !world.copies.some((other) => other !== copy && other.vm === copy.vm && other.node === copy.node && isLive(other)))
    demote(side)
  forget(world, copy)
  if (isEnded) world.observer.killed(world, copy, why)
}

/** Whether the API server has every copy that is alive here on this node, as it is read now. */
export const isAllBound = (world: World, node: SimNode): boolean =>
  world.copies.every(
    (copy) => copy.node !== node.index || !isLive(copy) || copy.state === 'incoming' || world.api.placement[copy.vm] === node.index,
  )

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
    node.isReleaseDue = level === 'none' && (!node.state || !holdsPermit(node.state, localMs(world, node)))
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
      feed(world, node, { kind: 'contained', level, isVerified: true })
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

const storagePath = (world: World): number => world.options.paths - 1

export function storagePasses(world: World, a: number, b: number): boolean {
  return (
    world.nodes[a]?.isPowered === true &&
    world.nodes[b]?.isPowered === true &&
    world.nodes[a].hasBooted &&
    world.nodes[b].hasBooted &&
    world.network.passes(a, b, storagePath(world))
  )
}

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
        world.observer.violate(
          world,
          'lost-write',
          `vm${volume.vm}: a write that was acknowledged is on ${world.nodes[side.node]?.name} no more`,
        )
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
    if (options.isFreezeMode) for (const volume of world.volumes) world.observer.checkWriters(world, volume.vm)
    timeline.in(KERNEL_TURN_MS, turn)
  }
  timeline.in(KERNEL_TURN_MS, turn)
}

function isFencedInTruth({ nodes, observer }: World, index: number): boolean {
  const name = nodes[index]?.name
  return observer.latest !== null && name !== undefined && memberOf(observer.latest, name)?.standing === 'fenced'
}

/**
 * Without freeze mode both sides may have written. An administrator knows which room went on: the side without what was written there is thrown away, once
 * it is closed; where both have that or neither, what the side has that is not used.
 */
function loserOf(world: World, volume: Volume): Side | null {
  if (world.options.isFreezeMode) {
    world.observer.violate(world, 'lost-write', `vm${volume.vm}: split brain in freeze mode`)
    return null
  }
  const [a, b] = volume.sides
  const hasAll = contains(a.head, volume.binding)
  if (hasAll !== contains(b.head, volume.binding)) {
    const behind = hasAll ? b : a
    return behind.isPrimary ? null : behind
  }
  if (a.isPrimary && b.isPrimary) return null
  if (a.isPrimary || b.isPrimary) return a.isPrimary ? b : a
  return world.api.placement[volume.vm] === a.node ? b : a
}

export function startKubelets(world: World): void {
  for (const volume of world.volumes) startCopy(world, volume, volume.sides[0].node)
  const turn = (): void => {
    schedulePods(world)
    for (const node of world.nodes) if (node.isPowered && node.hasBooted && reachesApi(world, node)) syncKubelet(world, node)
    world.timeline.in(KUBELET_TURN_MS, turn)
  }
  world.timeline.in(KUBELET_TURN_MS, turn)
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
  world.observer.started(world, volume, side)
  world.observer.checkWriters(world, copy.vm)
}

/** Live migration to the other replica; dropped when either end, the link or the API does not hold out. */
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
