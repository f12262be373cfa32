/** KubeVirt's objects beyond single VMs, for both worlds: pools, sets, migrations, hot-plugged volumes. */
import { amend } from '../../src/demo/cluster/objects.ts'
import type { ApiObject } from '../support/api-client.ts'
import { createClaim } from '../cluster/objects/volumes.ts'
import type { Bed } from './bed.ts'
import { instanceSpec, kubevirtPath } from './line-objects.ts'
import type { AnyObject } from './recording.ts'

export interface SetRequest {
  readonly name: string
  readonly room: string
  readonly replicas: number
}

const template = ({ name, room }: SetRequest): object => ({
  metadata: { labels: { 'test.roomfence.io/set': name } },
  spec: instanceSpec({ name, room, disk: 'none' }),
})
const selectorOf = (name: string): object => ({ matchLabels: { 'test.roomfence.io/set': name } })

/** A VirtualMachinePool: VMs `<name>-0` and so on, without disks. */
export const createPool = async ({ api, namespace }: Bed, wanted: SetRequest): Promise<ApiObject> =>
  api.create(`/apis/pool.kubevirt.io/v1beta1/namespaces/${namespace}/virtualmachinepools`, {
    apiVersion: 'pool.kubevirt.io/v1beta1',
    kind: 'VirtualMachinePool',
    metadata: { name: wanted.name },
    spec: {
      replicas: wanted.replicas,
      selector: selectorOf(wanted.name),
      virtualMachineTemplate: {
        metadata: { labels: { 'test.roomfence.io/set': wanted.name } },
        spec: { runStrategy: 'Always', template: template(wanted) },
      },
    },
  })

/** A VirtualMachineInstanceReplicaSet: instances with names at random, without disks. */
export const createReplicaSet = async ({ api, namespace }: Bed, wanted: SetRequest): Promise<ApiObject> =>
  api.create(kubevirtPath(namespace, 'virtualmachineinstancereplicasets'), {
    apiVersion: 'kubevirt.io/v1',
    kind: 'VirtualMachineInstanceReplicaSet',
    metadata: { name: wanted.name },
    spec: { replicas: wanted.replicas, selector: selectorOf(wanted.name), template: template(wanted) },
  })

export const vmisOf = async ({ api, namespace }: Bed): Promise<readonly AnyObject[]> =>
  api.list<AnyObject>(kubevirtPath(namespace, 'virtualmachineinstances'))

export const phaseOf = ({ status }: AnyObject): string => (status as { phase?: string } | undefined)?.phase ?? ''
export const nodeOf = ({ status }: AnyObject): string => (status as { nodeName?: string } | undefined)?.nodeName ?? ''
export const controllerOf = ({ metadata }: ApiObject): string | undefined =>
  (metadata as { ownerReferences?: readonly { uid: string; controller?: boolean }[] }).ownerReferences?.find(({ controller }) => controller)
    ?.uid

/** The set's instances that are Running in that room, once there are so many. */
export const setRuns = async (bed: Bed, set: string, room: string, count: number): Promise<readonly AnyObject[]> =>
  bed.until(`${String(count)} instances of ${set} run in ${room}`, async () => {
    const running = (await vmisOf(bed)).filter(
      (vmi) =>
        vmi.metadata.labels?.['test.roomfence.io/set'] === set &&
        vmi.metadata.deletionTimestamp === undefined &&
        phaseOf(vmi) === 'Running' &&
        bed.roomOf(nodeOf(vmi)) === room,
    )
    return running.length === count ? running : undefined
  })

const migrations = ({ namespace }: Bed): string => kubevirtPath(namespace, 'virtualmachineinstancemigrations')
export const migrationOf = async (bed: Bed, vm: string): Promise<AnyObject | undefined> =>
  (await bed.api.list<AnyObject>(migrations(bed))).find(({ metadata }) => metadata.name === `move-${vm}`)

/** Starts a live migration to that node; resolves when the target is there and the guest's memory would be on its way: it never ends by itself. */
export async function migrateTo(bed: Bed, vm: string, node: string): Promise<void> {
  await bed.api.create(migrations(bed), {
    apiVersion: 'kubevirt.io/v1',
    kind: 'VirtualMachineInstanceMigration',
    metadata: { name: `move-${vm}` },
    spec: { vmiName: vm, addedNodeSelector: { 'kubernetes.io/hostname': node } },
  })
  await bed.until(
    `the migration of ${vm} runs`,
    async () => phaseOf((await migrationOf(bed, vm)) ?? ({} as AnyObject)) === 'Running',
    60_000,
  )
}

/** Plugs a volume of its own into the running VM; resolves when the guest could use it. */
export async function plug(bed: Bed, vm: string, volume: string): Promise<void> {
  const { api, namespace, world } = bed
  await createClaim(api, { namespace, name: volume, accessMode: 'ReadWriteMany' })
  const source = { persistentVolumeClaim: { claimName: volume, hotpluggable: true } }
  if (world.embedded === undefined)
    await api.replace(`/apis/subresources.kubevirt.io/v1/namespaces/${namespace}/virtualmachines/${vm}/addvolume`, {
      name: volume,
      disk: { name: volume, disk: { bus: 'scsi' } },
      volumeSource: source,
    })
  else {
    // The embedded API server has no such call: what virt-api writes.
    const { store } = world.embedded.testbed
    amend(
      store,
      'virtualmachines',
      { namespace, name: vm },
      ({ spec }) => void spec.template.spec.volumes?.push({ name: volume, ...source }),
    )
    amend(store, 'virtualmachineinstances', { namespace, name: vm }, ({ spec }) => void spec.volumes?.push({ name: volume, ...source }))
  }
  await bed.until(`${volume} is plugged into ${vm}`, async () =>
    isPlugged(await api.get(`${kubevirtPath(namespace, 'virtualmachineinstances')}/${vm}`), volume),
  )
}

export const isPlugged = ({ status }: AnyObject, volume: string): boolean =>
  ((status as { volumeStatus?: readonly { name: string; phase?: string }[] } | undefined)?.volumeStatus ?? []).some(
    ({ name, phase }) => name === volume && phase === 'Ready',
  )

/** PUT virtualmachines/NAME/stop, as a person does. */
export const stopVm = async ({ api, namespace }: Bed, name: string): Promise<void> => {
  await api.replace(`/apis/subresources.kubevirt.io/v1/namespaces/${namespace}/virtualmachines/${name}/stop`, {})
}
