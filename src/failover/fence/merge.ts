/** Two records of one fence, made one. Pure. */
import { type FenceStatus, isSettled, type RecordedLease, type RecordedWorkload } from './fence.ts'
import { fullName } from './names.ts'

/**
 * Two agents' records of one fence, made one: what was written first of a workload stands, a start that either asked for was asked for, and what has
 * settled stays settled.
 */
export function mergeStatus(remote: FenceStatus, local: FenceStatus): FenceStatus {
  const localWorkloads = new Map(local.workloads.map((workload) => [workload.uid, workload]))
  const merged = remote.workloads.map((workload) => {
    const ours = localWorkloads.get(workload.uid)
    localWorkloads.delete(workload.uid)
    if (ours === undefined) return workload
    const later =
      isSettled(workload.state) || !isSettled(ours.state)
        ? workload
        : { ...workload, state: ours.state, reason: ours.reason, newNode: ours.newNode, at: ours.at, ...standInOf(ours) }
    return { ...later, startAsked: workload.startAsked || ours.startAsked, proof: workload.proof === '' ? ours.proof : workload.proof }
  })
  const leaseKey = (lease: RecordedLease): string => `${fullName(lease)} ${lease.holder}`
  const leases = new Map([...local.leases, ...remote.leases].map((lease) => [leaseKey(lease), lease]))
  for (const lease of local.leases) if (lease.released) leases.set(leaseKey(lease), lease)
  return {
    ...remote,
    workloads: [...merged, ...localWorkloads.values()],
    leases: [...leases.values()],
    unfenced: [...remote.unfenced, ...local.unfenced.filter(({ node }) => !remote.unfenced.some((other) => other.node === node))],
    nodes: remote.nodes.length > 0 ? remote.nodes : local.nodes,
    startedAt: remote.startedAt === '' ? local.startedAt : remote.startedAt,
  }
}

const standInOf = ({ replacedBy }: RecordedWorkload): { readonly replacedBy?: string } => (replacedBy === undefined ? {} : { replacedBy })
