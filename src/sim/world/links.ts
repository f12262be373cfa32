/** Which links pass: of the storage between two nodes, and to the API server. */
import type { SimNode, World } from './world.ts'

export function reachesApi(world: World, node: SimNode): boolean {
  return world.api.isUp && world.network.passes(node.index, world.apiSite, 0)
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
