/** What people ask for, also at a bad moment: un-fences, pauses of all fencing, maintenance, and their word that nodes are dead. */
import { FORCED_STEP, memberOf } from '../../protocol/membership.ts'
import { durableOf } from '../observer/lost.ts'
import type { FaultOf } from '../schedule/schedule.ts'
import { isLive } from '../world/copies.ts'
import type { SimNode, World } from '../world/world.ts'
import { targetNodes } from './targets.ts'

/** @param at where the moment was, when an adversary strikes. */
export function askOfPeople(
  world: World,
  fault: FaultOf<'unfence' | 'suspension' | 'maintenance' | 'confirm-dead'>,
  at: SimNode | undefined,
): void {
  switch (fault.kind) {
    case 'unfence':
      for (const node of world.nodes)
        world.feed(node, { kind: 'unfence', nodes: targetNodes(world, fault.target, at).map(({ name }) => name), by: 'operator' })
      return
    case 'suspension':
      for (const node of fault.at === undefined ? world.nodes : targetNodes(world, fault.at, at))
        world.feed(node, {
          kind: 'suspend-fencing',
          isSuspended: fault.isSuspended,
          by: fault.at === undefined ? 'operator' : `operator at ${node.name}`,
        })
      return
    case 'maintenance':
      for (const node of world.nodes)
        world.feed(node, {
          kind: 'maintenance',
          nodes: targetNodes(world, fault.target, at).map(({ name }) => name),
          isOn: fault.isOn,
          by: 'operator',
        })
      return
    case 'confirm-dead':
      return confirmDead(world, fault.target, at)
  }
}

/** How many forced epochs are in what this node knows. */
const forcedTimes = (node: SimNode): number => Math.floor((durableOf(node)?.membership?.epoch ?? 0) / FORCED_STEP)

/**
 * A person presses it at a bad moment, but is not wrong: nothing runs on those nodes, they have no power, and they had fenced nobody. They
 * get no power again before the rooms see each other (docs/protocol/operator.md).
 */
function confirmDead(world: World, target: string, at: SimNode | undefined): void {
  const dead = targetNodes(world, target, at).filter(
    (node) => !node.isPowered && !world.copies.some((copy) => copy.node === node.index && (isLive(copy) || copy.state === 'draining')),
  )
  if (dead.length === 0) return
  const names = new Set(dead.map(({ name }) => name))
  // Who went on by a forced epoch that nobody else knows has taken over.
  const others = world.nodes.filter((node) => !dead.includes(node))
  if (Math.max(...dead.map(forcedTimes)) > Math.max(0, ...others.map(forcedTimes))) return
  const { members } = world.observer.latest ?? world.genesis
  if (members.some(({ node, standing }) => standing !== 'fenced' && names.has(node))) {
    if (members.some(({ node, standing }) => standing === 'fenced' && !names.has(node))) return
    for (const node of dead) node.isDeclaredDead = true
  }
  const isForcing = dead.some((node) => node.isDeclaredDead)
  world.count('operator confirmations')
  for (const node of isForcing ? sideOf(world, dead) : world.nodes) {
    const known = node.state?.durable.membership
    // A word for a fence names it: who knows of no such fence takes it for nothing.
    const nodes = dead.filter(({ name }) => isForcing || (known && memberOf(known, name)?.standing === 'fenced')).map(({ name }) => name)
    if (nodes.length === 0) continue
    if (isForcing) node.isTold = true
    world.feed(node, { kind: 'confirm-dead', nodes, by: 'operator' })
  }
}

/**
 * Whom a word is given that stands in for votes: those who hear one another, and later the same ones. Told on two sides of a cut, both would go on; and who does not know of an epoch that was forced already has been overtaken by it.
 */
function sideOf(world: World, dead: readonly SimNode[]): readonly SimNode[] {
  const latest = world.observer.latest ?? world.genesis
  const most = Math.max(...world.nodes.map(forcedTimes))
  const able = world.nodes.filter(
    (node) => node.state && !dead.includes(node) && memberOf(latest, node.name)?.standing !== 'fenced' && forcedTimes(node) === most,
  )
  const first = able.find(({ isTold }) => isTold) ?? able[0]
  const paths = Array.from({ length: world.options.paths }, (_, path) => path)
  const hears = (node: SimNode): boolean => paths.some((path) => world.network.passes(first?.index ?? -1, node.index, path))
  return able.filter((node) => node === first || hears(node))
}
