/** Whether the survivors can take what a room's loss would move: requests against what is free, before anything happens. Pure. */
import { quantity } from '../../kubernetes/requests.ts'
import type { NodeView, PodView, Taint } from '../../kubernetes/resources.ts'
import { toleratesTaint } from '../fence/taints.ts'

export interface Amount {
  readonly cpuMilli: number
  readonly memoryBytes: number
  readonly pods: number
}

/** What is known of a pod for this. */
export type CountedPod = Pick<PodView, 'namespace' | 'name' | 'nodeName' | 'priority' | 'requests' | 'tolerations'> & {
  /** It is not moved: a DaemonSet's, a mirror, opted out. */
  readonly staysBehind: boolean
}

export interface Capacity {
  /** Requests of the pods that would be cleared from the lost nodes. */
  readonly moving: Amount
  /** Allocatable of the ready survivors less the requests of what runs there; below zero when they are overcommitted. */
  readonly free: Amount
  /** `namespace/name` of moving pods that no survivor has room for. */
  readonly unplaced: readonly string[]
}

/**
 * Pods are placed one after the other, the most important first and then the largest, each on the node with the most memory left: about what the
 * scheduler does. Selectors, affinities and replicas are not looked at, so more may stay unplaced than is said here, hardly less.
 *
 * @param nodes all nodes of the cluster
 * @param pods all pods bound to them, ended ones left out
 * @param lost names of the nodes that would be fenced
 * @param fenced names of nodes that take nothing, as they are fenced already
 */
export function capacityAfterLoss(
  nodes: readonly NodeView[],
  pods: readonly CountedPod[],
  lost: ReadonlySet<string>,
  fenced: ReadonlySet<string> = new Set(),
): Capacity {
  const survivors = nodes
    .filter(({ name, ready }) => ready && !lost.has(name) && !fenced.has(name))
    .map((node) => ({ node, free: less(allocatableOf(node), sum(pods.filter((pod) => pod.nodeName === node.name).map(amountOf))) }))
  const free = sum(survivors.map((survivor) => survivor.free))
  const moving = pods.filter((pod) => lost.has(pod.nodeName) && !pod.staysBehind)
  const unplaced: string[] = []
  for (const pod of moving.toSorted(byImportance)) {
    const needed = amountOf(pod)
    const fitting = survivors
      .filter((survivor) => fits(needed, survivor.free) && isTolerated(pod, survivor.node.taints))
      .sort((a, b) => b.free.memoryBytes - a.free.memoryBytes)[0]
    if (fitting === undefined) unplaced.push(`${pod.namespace}/${pod.name}`)
    else fitting.free = less(fitting.free, needed)
  }
  return { moving: sum(moving.map(amountOf)), free, unplaced }
}

const byImportance = (a: CountedPod, b: CountedPod): number =>
  b.priority - a.priority || b.requests.memoryBytes - a.requests.memoryBytes || b.requests.cpuMilli - a.requests.cpuMilli

const amountOf = ({ requests }: CountedPod): Amount => ({ ...requests, pods: 1 })

/** A node that does not say how many pods it takes sets no limit. */
const allocatableOf = ({ allocatable: { cpu, memory, pods } }: NodeView): Amount => ({
  cpuMilli: 1_000 * quantity(cpu),
  memoryBytes: quantity(memory),
  pods: pods === '' ? Infinity : quantity(pods),
})

/** The scheduler asks of a resource only when the pod requests it: an overcommitted node still takes a pod that requests nothing of it. */
const fits = (needed: Amount, free: Amount): boolean =>
  (needed.cpuMilli === 0 || needed.cpuMilli <= free.cpuMilli) &&
  (needed.memoryBytes === 0 || needed.memoryBytes <= free.memoryBytes) &&
  needed.pods <= free.pods

const isTolerated = ({ tolerations }: CountedPod, taints: readonly Taint[]): boolean =>
  taints.filter(({ effect }) => effect === 'NoSchedule' || effect === 'NoExecute').every((taint) => toleratesTaint(tolerations, taint))

const nothing: Amount = { cpuMilli: 0, memoryBytes: 0, pods: 0 }

const sum = (amounts: readonly Amount[]): Amount =>
  amounts.reduce(
    (total, one) => ({
      cpuMilli: total.cpuMilli + one.cpuMilli,
      memoryBytes: total.memoryBytes + one.memoryBytes,
      pods: total.pods + one.pods,
    }),
    nothing,
  )

const less = (from: Amount, taken: Amount): Amount => ({
  cpuMilli: from.cpuMilli - taken.cpuMilli,
  memoryBytes: from.memoryBytes - taken.memoryBytes,
  pods: from.pods - taken.pods,
})
