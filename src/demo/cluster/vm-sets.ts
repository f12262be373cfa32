/** Stand-ins of virt-controller's two controllers of many: VirtualMachineInstanceReplicaSet (instances) and VirtualMachinePool (VMs), in their thinnest form. */
import type { KubeObject } from '../apiserver/store.ts'
import {
  controllerOf,
  isTerminating,
  isVmiFinal,
  keyOf,
  locationOf,
  ownedBy,
  amend,
  readAll,
  read,
  splitKey,
  type VmSet,
} from './objects.ts'
import { CONTROLLER_LATENCY_MS } from './vmi-controller.ts'
import { type ClusterContext, createWorkQueue, type Stop, stopAll, watch } from './work-queue.ts'

const isOf =
  (owner: VmSet) =>
  (object: KubeObject): boolean =>
    controllerOf(object)?.uid === owner.metadata.uid

export function startVmSets(context: ClusterContext): Stop {
  const { store } = context

  /** One that has ended, or is on its way out, counts no longer: another is made at once, under another name, and the ended one is deleted. */
  const replicaSet = (set: VmSet): void => {
    const { name, namespace } = set.metadata
    const instances = readAll(store, 'virtualmachineinstances', namespace).filter(isOf(set))
    const active = instances.filter((vmi) => !isVmiFinal(vmi) && !isTerminating(vmi))
    const { metadata, spec } = set.spec.template ?? {}
    const replicas = set.spec.replicas ?? 1
    for (let missing = replicas - active.length; missing > 0; missing--)
      store.create('virtualmachineinstances', {
        metadata: { ...metadata, namespace, generateName: name, ownerReferences: [ownedBy(set)] },
        spec,
        status: {},
      })
    for (const vmi of instances)
      if (isVmiFinal(vmi) && !isTerminating(vmi))
        store.remove('virtualmachineinstances', namespace, vmi.metadata.name, { uid: vmi.metadata.uid })
    amend(store, 'virtualmachineinstancereplicasets', locationOf(set), (counted) => {
      counted.status = {
        ...counted.status,
        replicas: active.length,
        readyReplicas: active.filter(({ status }) => status?.phase === 'Running').length,
      }
    })
  }

  /** Its VMs are numbered and stay: what becomes of their instances is the VM controller's matter. */
  const pool = (owner: VmSet): void => {
    const { name, namespace } = owner.metadata
    const { metadata, spec } = owner.spec.virtualMachineTemplate ?? {}
    const replicas = owner.spec.replicas ?? 1
    for (let index = 0; index < replicas; index++) {
      if (read(store, 'virtualmachines', namespace, `${name}-${index}`) !== undefined) continue
      store.create('virtualmachines', {
        metadata: { ...metadata, namespace, name: `${name}-${index}`, ownerReferences: [ownedBy(owner)] },
        spec: structuredClone(spec),
      })
    }
    const vms = readAll(store, 'virtualmachines', namespace).filter(isOf(owner))
    amend(store, 'virtualmachinepools', locationOf(owner), (counted) => {
      counted.status = { ...counted.status, replicas: vms.length, readyReplicas: vms.filter(({ status }) => status?.ready === true).length }
    })
  }

  const controllers = { virtualmachineinstancereplicasets: replicaSet, virtualmachinepools: pool } as const
  const queues = Object.entries(controllers).map(([plural, reconcile]) => ({
    plural: plural as keyof typeof controllers,
    queue: createWorkQueue(
      context,
      `virt-controller ${plural}`,
      (key) => {
        const { namespace, name } = splitKey(key)
        const owner = read(store, plural as keyof typeof controllers, namespace, name)
        if (owner !== undefined && !isTerminating(owner)) reconcile(owner)
      },
      CONTROLLER_LATENCY_MS,
    ),
  }))
  const plurals = [...Object.keys(controllers), 'virtualmachineinstances', 'virtualmachines']
  const stopWatch = watch(store, plurals, ({ plural, object }) => {
    const owner = controllerOf(object)
    for (const one of queues) {
      if (one.plural === plural) one.queue.add(keyOf(object))
      else if (owner !== undefined && store.get(one.plural, object.metadata.namespace, owner.name)?.metadata.uid === owner.uid)
        one.queue.add(`${object.metadata.namespace ?? ''}/${owner.name}`)
    }
  })
  return stopAll(stopWatch, ...queues.map(({ queue }) => queue))
}
