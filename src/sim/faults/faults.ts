/** What can go wrong, done to the world: each fault of a schedule, and the adversary's strikes at the protocol's own moments. */
import { migrate } from '../node/migration.ts'
import type { Fault, Moment, Strike } from '../schedule/schedule.ts'
import type { SimNode, World } from '../world/world.ts'
import { changeLinks } from './links.ts'
import { changeNode } from './nodes.ts'
import { askOfPeople } from './operators.ts'
import { repair } from './repair.ts'
import { apiFault, witnessFault } from './services.ts'
import { targetNodes } from './targets.ts'

export function strikeAt(world: World, moment: Moment, nth: number, at: SimNode): void {
  for (const strike of world.schedule.strikes)
    if (strike.moment === moment && countFor(world, strike, nth) === strike.nth) {
      world.note(`strike at ${moment} ${nth} on ${at.name}`)
      world.count('strikes')
      applyFault(world, strike.fault, at)
    }
}

function countFor(world: World, strike: Strike, nth: number): number {
  if (strike.fromMs === undefined) return nth
  const count = (world.strikeCounts.get(strike) ?? 0) + (world.timeline.nowMs >= strike.fromMs ? 1 : 0)
  world.strikeCounts.set(strike, count)
  return world.timeline.nowMs >= strike.fromMs ? count : -1
}

export function applyFault(world: World, fault: Fault, at: SimNode | undefined): void {
  if (world.isRepaired && fault.kind !== 'repair') return
  if (world.log && !(fault.kind === 'unfence' && world.timeline.nowMs > world.schedule.untilMs))
    world.note(`fault ${JSON.stringify(fault)}`)
  world.count(`fault ${fault.kind}`)
  switch (fault.kind) {
    case 'cut':
    case 'degrade':
    case 'filter':
    case 'flap':
    case 'heal':
      return changeLinks(world, fault, at)
    case 'power-off':
    case 'power-on':
    case 'crash':
    case 'leave':
    case 'stop':
    case 'stall':
    case 'brink':
    case 'clock':
    case 'disk':
    case 'stuck':
      for (const node of targetNodes(world, fault.target, at)) changeNode(world, node, fault)
      return
    case 'witness':
      return witnessFault(world, fault.how)
    case 'api':
      return apiFault(world, fault.how)
    case 'unfence':
    case 'suspension':
    case 'maintenance':
    case 'confirm-dead':
      return askOfPeople(world, fault, at)
    case 'migrate':
      return migrate(world, fault.vm)
    case 'repair':
      return repair(world)
  }
}
