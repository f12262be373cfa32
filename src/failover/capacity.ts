/** Whether the survivors can take what a room's loss would move: requests against what is free, before anything happens. Pure. */
import { type NodeView, type PodView, quantity } from '../kubernetes/resources.ts'

export interface Amount {
  readonly cpuMilli: number
  readonly memoryBytes: number
}

export interface Capacity {
  /** Requests of the pods that would be cleared from the lost nodes. */
  readonly moving: Amount
  /** Allocatable of the other nodes less the requests of what runs there; below zero when they are overcommitted. */
  readonly free: Amount
  /** Free less moving: below zero, some of it stays Pending. */
  readonly left: Amount
}

/**
 * @param nodes all nodes of the cluster
 * @param pods all pods bound to them, ended ones included
 * @param lost names of the nodes that would be fenced
 * @param staysBehind pods that are not moved: DaemonSets, mirror pods, opted-out ones
 */
export function capacityAfterLoss(
  nodes: readonly NodeView[],
  pods: readonly PodView[],
  lost: ReadonlySet<string>,
  staysBehind: (pod: PodView) => boolean,
): Capacity {
  const live = pods.filter((pod) => pod.phase !== 'Succeeded' && pod.phase !== 'Failed')
  const moving = sum(live.filter((pod) => lost.has(pod.nodeName) && !staysBehind(pod)).map((pod) => pod.requests))
  const resident = sum(live.filter((pod) => pod.nodeName !== '' && !lost.has(pod.nodeName)).map((pod) => pod.requests))
  const allocatable = sum(
    nodes
      .filter((node) => !lost.has(node.name))
      .map(({ allocatable: { cpu, memory } }) => ({ cpuMilli: 1_000 * quantity(cpu), memoryBytes: quantity(memory) })),
  )
  const free = less(allocatable, resident)
  return { moving, free, left: less(free, moving) }
}

const sum = (amounts: readonly Amount[]): Amount =>
  amounts.reduce((total, one) => ({ cpuMilli: total.cpuMilli + one.cpuMilli, memoryBytes: total.memoryBytes + one.memoryBytes }), {
    cpuMilli: 0,
    memoryBytes: 0,
  })

const less = (from: Amount, taken: Amount): Amount => ({
  cpuMilli: from.cpuMilli - taken.cpuMilli,
  memoryBytes: from.memoryBytes - taken.memoryBytes,
})
