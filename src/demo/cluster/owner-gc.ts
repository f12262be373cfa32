/** Stand-in of the garbage collector: what has lost its last owner is deleted in the background. */
import type { KubeObject } from '../apiserver/store.ts'
import type { OwnerReference } from './objects.ts'
import { type ClusterContext, createWorkQueue, type Stop, stopAll, watch } from './work-queue.ts'

const pluralOfKind: Readonly<Record<string, string>> = {
  Pod: 'pods',
  Node: 'nodes',
  Deployment: 'deployments',
  ReplicaSet: 'replicasets',
  StatefulSet: 'statefulsets',
  DaemonSet: 'daemonsets',
  Job: 'jobs',
  VirtualMachine: 'virtualmachines',
  VirtualMachineInstance: 'virtualmachineinstances',
  VirtualMachineInstanceReplicaSet: 'virtualmachineinstancereplicasets',
  VirtualMachinePool: 'virtualmachinepools',
}
const owned = ['pods', 'replicasets', 'virtualmachines', 'virtualmachineinstances', 'leases', 'csinodes']

export function startOwnerGc(context: ClusterContext): Stop {
  const { store } = context
  const ownersOf = (object: KubeObject): readonly OwnerReference[] => object.metadata.ownerReferences ?? []

  const exists = (object: KubeObject, owner: OwnerReference): boolean => {
    const plural = pluralOfKind[owner.kind]
    if (plural === undefined) return true
    const namespace = plural === 'nodes' ? undefined : object.metadata.namespace
    return store.get(plural, namespace, owner.name)?.metadata.uid === owner.uid
  }
  const queue = createWorkQueue(
    context,
    'owner-gc',
    (ownerUid) => {
      for (const plural of owned) {
        for (const object of store.list(plural)) {
          const owners = ownersOf(object)
          if (!owners.some(({ uid }) => uid === ownerUid) || owners.some((owner) => exists(object, owner))) continue
          const { name, namespace, uid } = object.metadata
          store.remove(plural, namespace, name, { uid })
        }
      }
    },
    100,
  )
  const stopWatch = watch(store, Object.values(pluralOfKind), ({ type, object }) => {
    if (type === 'DELETED') queue.add(object.metadata.uid)
  })
  return stopAll(stopWatch, queue)
}
