/** Faults of one node: its power, its agent, its clock, its disk, its tasks. */
import type { Durable } from '../../protocol/state.ts'
import { leave } from '../node/leaving.ts'
import { crashAgent, loseDisk, resetNode } from '../node/life.ts'
import { noteWell, stopAgent } from '../node/process.ts'
import type { FaultOf } from '../schedule/schedule.ts'
import { changeRate } from '../world/clock.ts'
import type { SimNode, World } from '../world/world.ts'

type NodeFault = FaultOf<'power-off' | 'power-on' | 'crash' | 'stop' | 'stall' | 'brink' | 'clock' | 'disk' | 'stuck' | 'leave'>

export function changeNode(world: World, node: SimNode, fault: NodeFault): void {
  const { nowMs } = world.timeline
  switch (fault.kind) {
    case 'power-off':
      if (!node.isPowered) return
      node.isPowered = false
      return resetNode(world, node, 'power')
    case 'power-on':
      if (fault.isOverruled === true) node.isDeclaredDead = false
      return powerOn(world, node)
    case 'crash':
      return crashAgent(world, node, fault.backMs)
    case 'leave':
      return leave(world, node, fault.backMs)
    case 'stop':
      if (fault.isDeaf === true) node.deafUntilMs = nowMs + fault.forMs
      return stopAgent(world, node, fault.forMs)
    case 'stall':
      stopAgent(world, node, fault.forMs)
      node.stallAgainMs = fault.thenMs
      return
    case 'brink':
      node.starveLeft = fault.times
      node.isStarving = false
      return
    case 'clock':
      return changeRate(node.clock, fault.rate, nowMs)
    case 'disk':
      return changeDisk(world, node, fault.how)
    case 'stuck':
      node.stuckUntilMs = nowMs + fault.forMs
  }
}

function changeDisk(world: World, node: SimNode, how: FaultOf<'disk'>['how']): void {
  if (how === 'dead') {
    if (node.disk.synced?.membership) world.disksLost += 1
    return loseDisk(world, node)
  }
  node.disk.how = how
  noteWell(world, node)
}

/** Whoever was declared dead is switched on last: when somebody is up again who knows what was chosen without it. */
export function powerOnLast(world: World, node: SimNode): void {
  const epoch = (world.observer.latest ?? world.genesis).epoch
  const others = world.nodes.filter((other) => !other.isDeclaredDead)
  const holds = (durable: Durable | undefined): boolean =>
    durable?.membership?.epoch === epoch || durable?.accepted?.membership.epoch === epoch
  const isKnown = others.some(({ disk }) => holds(disk.synced))
  const isUp = others.some(({ state }) => holds(state?.durable))
  if (isKnown && !isUp) return world.timeline.in(500, () => powerOnLast(world, node))
  node.isDeclaredDead = false
  powerOn(world, node)
}

export function powerOn(world: World, node: SimNode): void {
  if (node.isPowered || node.isDeclaredDead) return
  node.isPowered = true
  resetNode(world, node, 'power')
}
