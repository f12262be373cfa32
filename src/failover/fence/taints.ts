/** Taints of ours on a node's list, which is one atomic list that others write too. Pure. */
import type { Taint, Toleration } from '../../kubernetes/resources.ts'
import { fencedTaintKey, outOfServiceTaintKey, outOfServiceTaintValue, unfencedEpochAnnotation } from './names.ts'

export const fencedTaint = (epoch: number): Taint => ({ key: fencedTaintKey, value: String(epoch), effect: 'NoSchedule' })
/** NoSchedule: podgc and attach-detach look at the key alone, while NoExecute makes taint eviction delete replacements by name. */
export const outOfServiceTaint: Taint = { key: outOfServiceTaintKey, value: outOfServiceTaintValue, effect: 'NoSchedule' }

export const isOurs = (taint: Taint): boolean =>
  taint.key === fencedTaintKey || (taint.key === outOfServiceTaintKey && taint.value === outOfServiceTaintValue)

export const hasTaint = (taints: readonly Taint[], wanted: Taint): boolean =>
  taints.some((taint) => taint.key === wanted.key && taint.value === wanted.value && taint.effect === wanted.effect)

/** Out-of-service by anyone's hand: it works by its key alone. */
export const isOutOfService = (taints: readonly Taint[]): boolean => taints.some((taint) => taint.key === outOfServiceTaintKey)

/** The epoch of our taint; undefined without one or with one that is no number. */
export function fencedEpoch(taints: readonly Taint[]): number | undefined {
  const value = Number(taints.find((taint) => taint.key === fencedTaintKey)?.value ?? Number.NaN)
  return Number.isInteger(value) ? value : undefined
}

/** Whether the node was un-fenced since the fence of `epoch`: an agent that did not hear of it yet must leave the node alone. */
export function isUnfencedSince(annotations: { readonly [name: string]: string }, epoch: number): boolean {
  const unfencedIn = Number(annotations[unfencedEpochAnnotation] ?? Number.NaN)
  return Number.isInteger(unfencedIn) && unfencedIn > epoch
}

/** Why nothing is done to a node that says so. Epochs begin anew with a new installation, and annotations stay: only a person can tell which it is. */
export const unfencedSinceReason = (node: string, annotations: { readonly [name: string]: string }): string =>
  `it was un-fenced in epoch ${annotations[unfencedEpochAnnotation] ?? ''}, later than this fence, and is left alone; if that is left over from an earlier installation: kubectl annotate node ${node} ${unfencedEpochAnnotation}-`

/**
 * Whether the fence of `epoch`, once carried out, is missing on a node that was not un-fenced since: the API server was set back in time, or somebody
 * took our taint away. A later fence's taint is as good.
 */
export function isFenceLost(
  node: { readonly taints: readonly Taint[]; readonly annotations: { readonly [name: string]: string } },
  epoch: number,
): boolean {
  return (fencedEpoch(node.taints) ?? -1) < epoch && !isUnfencedSince(node.annotations, epoch)
}

/** The list with the taint, every foreign one kept. A foreign out-of-service taint of the same effect stays as it is: two of a kind are refused. */
export function withTaint(taints: readonly Taint[], added: Taint): readonly Taint[] {
  const same = taints.find((taint) => taint.key === added.key && taint.effect === added.effect)
  if (same !== undefined && (!isOurs(same) || same.value === added.value)) return taints
  return [...taints.filter((taint) => taint !== same), added]
}

export const withoutOurs = (taints: readonly Taint[]): readonly Taint[] => taints.filter((taint) => !isOurs(taint))

/** Whether tolerations make the scheduler (NoSchedule) or eviction (NoExecute) look past a taint, for however long. */
export const toleratesTaint = (tolerations: readonly Toleration[], taint: Taint): boolean =>
  tolerations.some(
    ({ key = '', operator = 'Equal', value = '', effect = '' }) =>
      (effect === '' || effect === taint.effect) &&
      (key === '' ? operator === 'Exists' : key === taint.key && (operator === 'Exists' || value === (taint.value ?? ''))),
  )

/** Whether a replacement of the pod could be placed on a fenced node again. */
export const toleratesFence = (tolerations: readonly Toleration[]): boolean =>
  [{ key: fencedTaintKey, effect: 'NoSchedule' }, outOfServiceTaint].every((taint) => toleratesTaint(tolerations, taint))

/** Whether nothing ever moves the pod: it tolerates what is placed and what evicts, whatever its name, and without a limit. */
export const toleratesEverything = (tolerations: readonly Toleration[]): boolean =>
  ['NoSchedule', 'NoExecute'].every((effect) => toleratesTaint(tolerations, { key: 'any.example/taint', effect })) &&
  immuneTolerations(tolerations) === undefined

const evictionKeys = ['node.kubernetes.io/unreachable', 'node.kubernetes.io/not-ready'] as const

/**
 * Tolerations under which Kubernetes' own eviction leaves the pod alone for good. Taint eviction takes the *shortest* time of all tolerations that match,
 * so the default 300 s must lose their limit: adding another would change nothing. A pod's tolerations can be added and their seconds changed, nothing else.
 *
 * @returns undefined when the pod is immune already.
 */
export function immuneTolerations(tolerations: readonly Toleration[]): readonly Toleration[] | undefined {
  const coversKey = (toleration: Toleration, key: string): boolean =>
    (toleration.key === key || ((toleration.key ?? '') === '' && toleration.operator === 'Exists')) &&
    (toleration.effect === 'NoExecute' || (toleration.effect ?? '') === '') &&
    (toleration.operator === 'Exists' || (toleration.value ?? '') === '')
  const changed = tolerations.map((toleration): Toleration => {
    if (toleration.tolerationSeconds === undefined || !evictionKeys.some((key) => coversKey(toleration, key))) return toleration
    const { tolerationSeconds: _limit, ...unlimited } = toleration
    return unlimited
  })
  const missing = evictionKeys.filter((key) => !changed.some((toleration) => coversKey(toleration, key)))
  if (missing.length === 0 && changed.every((toleration, index) => toleration === tolerations[index])) return undefined
  return [...changed, ...missing.map((key): Toleration => ({ key, operator: 'Exists', effect: 'NoExecute' }))]
}
