/** What a fault's target names: sites and nodes (src/sim/schedule/schedule.ts says which words there are). */
import type { SimNode, World } from '../world/world.ts'

/** Sites that a target names. */
function sitesOf(world: World, target: string, at: SimNode | undefined): readonly number[] {
  if (target === 'witness') return [world.witnessSite]
  if (target === 'api') return [world.apiSite]
  if (at) {
    if (target === '@self') return [at.index]
    if (target === '@room') return world.nodes.filter((node) => node.room === at.room).map(({ index }) => index)
    if (target === '@others') return world.nodes.filter((node) => node.room !== at.room).map(({ index }) => index)
    if (target === '@peer')
      return world.nodes
        .filter((node) => node.room !== at.room)
        .slice(0, 1)
        .map(({ index }) => index)
  }
  return world.nodes.filter((node) => node.name === target || node.room === target).map(({ index }) => index)
}

export const targetNodes = (world: World, target: string, at: SimNode | undefined): readonly SimNode[] =>
  sitesOf(world, target, at).flatMap((index) => world.nodes[index] ?? [])

export function eachPair(
  world: World,
  from: string,
  to: string,
  at: SimNode | undefined,
  isOneWay: boolean,
  act: (from: number, to: number) => void,
): void {
  for (const a of sitesOf(world, from, at))
    for (const b of sitesOf(world, to, at)) {
      if (a === b) continue
      act(a, b)
      if (!isOneWay) act(b, a)
    }
}
