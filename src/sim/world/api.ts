/** A write to the API server that may be under way for as long as a call may take, whatever becomes of the agent that sent it. */
import type { SimNode, World } from './world.ts'

export interface ApiWrite {
  /** What the API server compares before it writes: the version or the uid that was read. */
  readonly isAsRead: () => boolean
  readonly apply: () => void
}

/** At once where the server is quick; else one of this agent is under way, and nothing recalls it. */
export function writeToApi(world: World, node: SimNode, write: ApiWrite): void {
  const { api, options, random, timeline } = world
  if (!api.isSlow) return write.apply()
  const { life } = node
  node.isCalling = true
  timeline.in(random.between(50, options.timings.apiCallMs), () => {
    if (node.life === life) node.isCalling = false
    if (!api.isUp || !write.isAsRead()) return
    world.count('late API writes')
    write.apply()
  })
}

/** The Node object as it is now: any write to it counts its version up. */
export function nodeAsRead(world: World, index: number): () => boolean {
  const version = world.api.nodeVersions[index]
  return () => world.api.nodeVersions[index] === version
}

/** The pod of a VM as it is now: another one has another uid. */
export function podAsRead(world: World, vm: number): () => boolean {
  const node = world.api.placement[vm]
  const pod = world.api.pods[vm]
  return () => world.api.placement[vm] === node && world.api.pods[vm] === pod
}

export function bindPod(world: World, vm: number, index: number): void {
  world.api.placement[vm] = index
  world.api.pods[vm] = (world.api.pods[vm] ?? 0) + 1
}

export function noteNodeWritten(world: World, index: number): void {
  world.api.nodeVersions[index] = (world.api.nodeVersions[index] ?? 0) + 1
}
