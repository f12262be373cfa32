/** Faults of links: cut, degraded, filtered, flapping, and as good as new again. */
import type { FaultOf } from '../schedule/schedule.ts'
import { freshLink } from '../world/network.ts'
import type { SimNode, World } from '../world/world.ts'
import { eachPair } from './targets.ts'

/** @param at where the moment was, when an adversary strikes. */
export function changeLinks(world: World, fault: FaultOf<'cut' | 'degrade' | 'filter' | 'flap' | 'heal'>, at: SimNode | undefined): void {
  const { network } = world
  switch (fault.kind) {
    case 'cut':
      return eachPair(world, fault.from, fault.to, at, fault.isOneWay, (from, to) =>
        network.change(from, to, fault.path ?? undefined, { isCut: true }),
      )
    case 'degrade': {
      const { loss, delayMs, jitterMs, duplicate } = fault
      return eachPair(world, fault.from, fault.to, at, true, (from, to) =>
        network.change(from, to, fault.path ?? undefined, { loss, delayMs, jitterMs, duplicate }),
      )
    }
    case 'filter':
      return eachPair(world, fault.from, fault.to, at, true, (from, to) => {
        const filters = new Map(network.link(from, to, 0).filters)
        if (fault.lateMs === 0) filters.delete(fault.message)
        else filters.set(fault.message, fault.lateMs ?? Infinity)
        network.change(from, to, undefined, { filters })
      })
    case 'flap':
      return flap(world, fault.from, fault.to, at, fault.everyMs, fault.times * 2)
    case 'heal':
      if (!fault.between) return network.heal()
      return eachPair(world, ...fault.between, at, false, (from, to) => network.change(from, to, undefined, freshLink()))
  }
}

function flap(world: World, from: string, to: string, at: SimNode | undefined, everyMs: number, left: number): void {
  if (left <= 0 || world.isRepaired) return
  const isCut = left % 2 === 0
  eachPair(world, from, to, at, false, (a, b) => world.network.change(a, b, undefined, { isCut }))
  world.timeline.in(everyMs, () => flap(world, from, to, at, everyMs, left - 1))
}
