/** Where a pod may run, as kube-scheduler decides it (its filters and the scores that matter here). Pure. */
import type { Node, NodeAffinity, PersistentVolume, Pod, PodSpec, SelectorRequirement, SelectorTerm, Taint, Toleration } from './objects.ts'

export function toleratesTaint(tolerations: readonly Toleration[] | undefined, taint: Taint): boolean {
  return (tolerations ?? []).some((toleration) => isTolerationFor(toleration, taint))
}

export function isTolerationFor(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect !== undefined && toleration.effect !== '' && toleration.effect !== taint.effect) return false
  const isExists = toleration.operator === 'Exists'
  if (toleration.key === undefined || toleration.key === '') return isExists
  return toleration.key === taint.key && (isExists || (toleration.value ?? '') === (taint.value ?? ''))
}

function meetsRequirement(values: Readonly<Record<string, string>>, { key, operator, values: wanted = [] }: SelectorRequirement): boolean {
  const value = values[key]
  switch (operator) {
    case 'In':
      return value !== undefined && wanted.includes(value)
    case 'NotIn':
      return value === undefined || !wanted.includes(value)
    case 'Exists':
      return value !== undefined
    case 'DoesNotExist':
      return value === undefined
    case 'Gt':
      return value !== undefined && Number(value) > Number(wanted[0])
    case 'Lt':
      break
  }
  return value !== undefined && Number(value) < Number(wanted[0])
}

/** A term without requirements matches nothing. */
function matchesTerm(node: Node, term: SelectorTerm): boolean {
  const { matchExpressions = [], matchFields = [] } = term
  if (matchExpressions.length + matchFields.length === 0) return false
  const fields = { 'metadata.name': node.metadata.name }
  return (
    matchExpressions.every((requirement) => meetsRequirement(node.metadata.labels ?? {}, requirement)) &&
    matchFields.every((requirement) => meetsRequirement(fields, requirement))
  )
}

export function matchesNodeSelector(node: Node, spec: PodSpec): boolean {
  const labels = node.metadata.labels ?? {}
  if (!Object.entries(spec.nodeSelector ?? {}).every(([key, value]) => labels[key] === value)) return false
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
  return required === undefined || required.nodeSelectorTerms.some((term) => matchesTerm(node, term))
}

const preference = (node: Node, affinity: NodeAffinity | undefined): number =>
  (affinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).reduce(
    (sum, { weight, preference: term }) => (matchesTerm(node, term) ? sum + weight : sum),
    0,
  )

const quantityUnits: Readonly<Record<string, number>> = {
  '': 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
}

/** Kubernetes' resource.Quantity as a number of its base unit (cores, bytes, pieces); NaN when it is none. */
export function quantity(text: string): number {
  const parts = /^([0-9.]+)([a-zA-Z]*)$/.exec(text)
  return Number(parts?.[1] ?? Number.NaN) * (quantityUnits[parts?.[2] ?? ''] ?? Number.NaN)
}

function requestsOf(pod: Pod): Map<string, number> {
  const sums = new Map<string, number>([['pods', 1]])
  for (const container of pod.spec.containers) {
    for (const [name, amount] of Object.entries(container.resources?.requests ?? {})) {
      sums.set(name, (sums.get(name) ?? 0) + quantity(amount))
    }
  }
  return sums
}

/** The first resource that does not fit, or undefined. `others` are the pods that count on the node now. */
function missingResource(node: Node, pod: Pod, others: readonly Pod[]): string | undefined {
  const used = new Map<string, number>()
  for (const other of others) for (const [name, amount] of requestsOf(other)) used.set(name, (used.get(name) ?? 0) + amount)
  const allocatable = node.status?.allocatable ?? {}
  for (const [name, amount] of requestsOf(pod)) {
    const free = (allocatable[name] === undefined ? 0 : quantity(allocatable[name])) - (used.get(name) ?? 0)
    if (amount > free) return name
  }
  return undefined
}

const unschedulableTaint: Taint = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' }

/** Why a node is refused, in kube-scheduler's words; undefined if it will do. The filters' order is the scheduler's. */
function refusal(node: Node, pod: Pod, volumes: readonly PersistentVolume[], podsOnNode: readonly Pod[]): string | undefined {
  if (node.spec.unschedulable === true && !toleratesTaint(pod.spec.tolerations, unschedulableTaint)) return 'node(s) were unschedulable'
  const taint = (node.spec.taints ?? []).find(
    (candidate) => candidate.effect !== 'PreferNoSchedule' && !toleratesTaint(pod.spec.tolerations, candidate),
  )
  if (taint !== undefined) {
    return `node(s) had untolerated taint {${taint.key}${taint.value === undefined ? ': ' : `: ${taint.value}`}}`
  }
  if (!matchesNodeSelector(node, pod.spec)) return "node(s) didn't match Pod's node affinity/selector"
  const missing = missingResource(node, pod, podsOnNode)
  if (missing !== undefined) return missing === 'pods' ? 'Too many pods' : `Insufficient ${missing}`
  for (const volume of volumes) {
    const required = volume.spec.nodeAffinity?.required
    if (required !== undefined && !required.nodeSelectorTerms.some((term) => matchesTerm(node, term))) {
      return "node(s) didn't match PersistentVolume's node affinity"
    }
  }
  return undefined
}

export interface Placement {
  readonly node?: string
  /** The message of the Unschedulable condition when no node will do. */
  readonly message?: string
}

/** The best node: preferred affinity first, then the fewest pods, then by name. */
export function place(
  nodes: readonly Node[],
  pod: Pod,
  volumes: readonly PersistentVolume[],
  podsOn: (node: string) => readonly Pod[],
): Placement {
  const reasons = new Map<string, number>()
  let best: { name: string; score: number; pods: number } | undefined
  for (const node of nodes) {
    const { name } = node.metadata
    const pods = podsOn(name)
    const reason = refusal(node, pod, volumes, pods)
    if (reason !== undefined) {
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
      continue
    }
    const score = preference(node, pod.spec.affinity?.nodeAffinity)
    const candidate = { name, score, pods: pods.length }
    if (best === undefined || isBetter(candidate, best)) best = candidate
  }
  if (best !== undefined) return { node: best.name }
  const counted = [...reasons].map(([reason, count]) => `${count} ${reason}`).sort()
  const head = `0/${nodes.length} nodes are available`
  if (counted.length === 0) return { message: `${head}.` }
  return {
    message: `${head}: ${counted.join(', ')}. preemption: 0/${nodes.length} nodes are available: ${nodes.length} Preemption is not helpful for scheduling.`,
  }
}

function isBetter(one: { name: string; score: number; pods: number }, other: { name: string; score: number; pods: number }): boolean {
  if (one.score !== other.score) return one.score > other.score
  if (one.pods !== other.pods) return one.pods < other.pods
  return one.name < other.name
}
