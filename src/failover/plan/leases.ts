/** Leader-election Leases whose holder died with a fenced node: released, so that a standby leads at once instead of after 15-32 s. Pure. */
import type { LeaseView, PodView } from '../../kubernetes/resources.ts'
import type { FenceStatus, RecordedLease } from '../fence/fence.ts'
import { fullName } from '../fence/names.ts'
import type { PlanInput } from './plan-input.ts'

/** Where kubelets show that they live: no leader election, and none of ours to touch. */
export const nodeLeaseNamespace = 'kube-node-lease'

/** Owners that give their pods names which no other pod ever had: a part of it is random. */
const namesAtRandom = ['ReplicaSet', 'DaemonSet', 'Job', 'ReplicationController']

/**
 * The leases held by a pod of these, or by a process on one of the nodes. Holders call themselves by pod name, or by host name, followed by `_` and
 * a random part or not (client-go, KubeVirt, CSI sidecars). `web-0` is a name in every namespace: such a pod is only taken for a holder in its own.
 */
export function leasesOfNodes(nodes: readonly string[], pods: readonly PodView[], leases: readonly LeaseView[]): readonly RecordedLease[] {
  const nodeByName = new Map<string, string>(nodes.map((node) => [node, node]))
  for (const { name, namespace, nodeName, owner } of pods) {
    nodeByName.set(`${namespace}/${name}`, nodeName)
    if (namesAtRandom.includes(owner?.kind ?? '')) nodeByName.set(name, nodeName)
  }
  return leases.flatMap((lease) => {
    if (lease.namespace === nodeLeaseNamespace || lease.holder === '') return []
    const names = [lease.holder, lease.holder.split('_')[0] ?? '']
    const node = names.flatMap((name) => nodeByName.get(`${lease.namespace}/${name}`) ?? nodeByName.get(name) ?? [])[0]
    return node === undefined ? [] : [{ namespace: lease.namespace, name: lease.name, holder: lease.holder, node, released: false }]
  })
}

/** The leases recorded before and those that are new; those that another holder has by now need no release. */
export function mergeLeases({ snapshot, order }: PlanInput): FenceStatus['leases'] {
  const known = snapshot.recorded.leases
  const isKnown = new Set(known.map((lease) => `${fullName(lease)} ${lease.holder}`))
  const found = leasesOfNodes(order.nodes, snapshot.pods, snapshot.leases).filter(
    (lease) => !isKnown.has(`${fullName(lease)} ${lease.holder}`),
  )
  // Who leads by now is in the lease itself: a holder that changed needs no release.
  const holders = new Map(snapshot.leases.map((lease) => [fullName(lease), lease.holder]))
  return [...known, ...found].map((lease) => {
    const holder = holders.get(fullName(lease))
    return holder === undefined || holder === lease.holder ? lease : { ...lease, released: true }
  })
}
