/** The Fence object beside what this agent knows: whether it is this one's, older or behind, and what it says of the end. Pure. */
import type { Fence, FenceStatus } from '../fence/fence.ts'
import { fullName } from '../fence/names.ts'
import type { CommittedFence } from '../fence/committed-fence.ts'
import type { FailoverResult } from './progress.ts'

export const emptyResult = { running: [], stopped: [], failed: [], blocked: [] } as const

/** Versions only ever grow, unless the API server was set back in time; so does the object that was made again under its name. */
export const isOlder = (found: Fence, known: Fence): boolean =>
  found.uid !== known.uid || Number(found.resourceVersion) < Number(known.resourceVersion)

/** Why this agent has nothing to do with the fence that it found. */
export function staleReason(
  order: CommittedFence,
  fence: Fence,
): { readonly outcome: 'superseded' | 'refused' | 'stopped'; readonly reason: string } | undefined {
  if (fence.spec.clusterId !== order.clusterId) {
    return {
      outcome: 'refused',
      reason: `Fence ${fence.name} belongs to cluster "${fence.spec.clusterId}", and this is "${order.clusterId}"`,
    }
  }
  if (fence.spec.epoch > order.epoch) {
    return {
      outcome: 'superseded',
      reason: `Fence ${fence.name} is of epoch ${String(fence.spec.epoch)}, later than ${String(order.epoch)}`,
    }
  }
  return fence.status.phase === 'Unfenced' ? { outcome: 'stopped', reason: `Fence ${fence.name} has been un-fenced` } : undefined
}

/** The status with what this agent has done since it was written. */
export function withStartsRequested(status: FenceStatus, startAsked: ReadonlySet<string>, released: ReadonlySet<string>): FenceStatus {
  if (startAsked.size === 0 && released.size === 0) return status
  return {
    ...status,
    workloads: status.workloads.map((workload) => (startAsked.has(workload.uid) ? { ...workload, startAsked: true } : workload)),
    leases: status.leases.map((lease) =>
      released.has(`lease ${lease.namespace}/${lease.name} ${lease.holder}`) ? { ...lease, released: true } : lease,
    ),
  }
}

/** The order of keys differs between what we made and what the API server gave back. */
export function isChanged(before: FenceStatus, after: FenceStatus): boolean {
  const plain = (status: FenceStatus): string => canonical({ ...status, updatedAt: '' })
  return plain(before) !== plain(after)
}

const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )

export function resultOf(outcome: FailoverResult['outcome'], status: FenceStatus | undefined): FailoverResult {
  const workloads = status?.workloads ?? []
  const named = (state: string) => workloads.filter((workload) => workload.state === state)
  return {
    outcome,
    reason: status?.message ?? '',
    running: named('running').map(fullName),
    stopped: named('stopped').map(fullName),
    failed: named('failed').map((workload) => ({ workload: fullName(workload), reason: workload.reason })),
    blocked: [...named('held'), ...named('waiting')].map((workload) => ({ workload: fullName(workload), reason: workload.reason })),
  }
}
