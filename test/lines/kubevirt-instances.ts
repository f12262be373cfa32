/** A room is lost with instances of every other kind: hot-plugged, migrating, starting, stopping, alone, of a pool and of a set. */
import { expect } from 'vitest'
import { bootAnnotation } from '../../src/demo/cluster/virt-handler.ts'
import type { FailoverResult } from '../../src/failover/run/progress.ts'
import { isApiError } from '../support/api-client.ts'
import { bootTimeAnnotation } from '../cluster/nodes/virt-handler.ts'
import type { Bed, FenceObject, FenceWorkload, PlayedFailover } from './bed.ts'
import {
  controllerOf,
  createPool,
  createReplicaSet,
  isPlugged,
  migrateTo,
  migrationOf,
  nodeOf,
  phaseOf,
  plug,
  setRuns,
  stopVm,
  vmisOf,
} from './kubevirt-objects.ts'
import { stage } from './lines.ts'
import { createVm, createVmi, kubevirtPath } from './line-objects.ts'
import type { AnyObject } from './recording.ts'
import { deadRoom, livingRoom } from './world.ts'

interface Instances extends PlayedFailover {
  readonly result: FailoverResult
  readonly status: NonNullable<FenceObject['status']>
  /** Of the instances before, by name. */
  readonly uids: ReadonlyMap<string, string>
  readonly poolVms: ReadonlyMap<string, string>
  readonly launcherOf: ReadonlyMap<string, string>
  readonly attachmentPods: readonly string[]
  readonly targetPods: ReadonlyMap<string, string>
}

const podsPath = ({ namespace }: Bed): string => `/api/v1/namespaces/${namespace}/pods`
const vmiPath = ({ namespace }: Bed, name: string): string => `${kubevirtPath(namespace, 'virtualmachineinstances')}/${name}`

async function bootsFromNowOn({ api, namespace }: Bed, name: string): Promise<void> {
  const annotations = { [bootAnnotation]: '10', [bootTimeAnnotation]: '10' }
  await api.patch(`${kubevirtPath(namespace, 'virtualmachines')}/${name}`, { spec: { template: { metadata: { annotations } } } })
}

async function fill(bed: Bed): Promise<void> {
  const { api, namespace } = bed
  const room = deadRoom
  const [living = ''] = bed.nodesOf(livingRoom)
  const [dead = ''] = bed.nodesOf(deadRoom)
  await createVm(api, namespace, { name: 'plugged', room })
  await createVm(api, namespace, { name: 'leaving', room })
  await createVm(api, namespace, { name: 'coming', room: livingRoom })
  await createVm(api, namespace, { name: 'stopping', room, runStrategy: 'Manual' })
  await createVm(api, namespace, { name: 'once', room, runStrategy: 'Once' })
  await createVm(api, namespace, { name: 'booting', room, bootMs: 'never' })
  await createVm(api, namespace, { name: 'booting-manual', room, runStrategy: 'Manual', bootMs: 'never' })
  await createVmi(api, namespace, { name: 'alone', room })
  await createPool(bed, { name: 'farm', room, replicas: 2 })
  await createReplicaSet(bed, { name: 'crowd', room, replicas: 2 })
  for (const name of ['stopping', 'booting-manual']) await bed.startVm(name)
  for (const name of ['plugged', 'leaving', 'stopping', 'once', 'alone', 'farm-0', 'farm-1']) await bed.vmiRuns(name, deadRoom)
  await bed.vmiRuns('coming', livingRoom)
  await setRuns(bed, 'crowd', deadRoom, 2)
  for (const name of ['booting', 'booting-manual']) {
    await bed.until(`${name} is Scheduled`, async () => phaseOf(await api.get<AnyObject>(vmiPath(bed, name))) === 'Scheduled')
    await bootsFromNowOn(bed, name)
  }
  await Promise.all([plug(bed, 'plugged', 'extra'), migrateTo(bed, 'leaving', living), migrateTo(bed, 'coming', dead)])
}

async function play(bed: Bed): Promise<Instances> {
  const { api, namespace } = bed
  await fill(bed)
  const uids = new Map((await vmisOf(bed)).map(({ metadata }) => [metadata.name, metadata.uid]))
  const pods = await api.list<AnyObject>(podsPath(bed))
  const launcherOf = new Map(
    pods.flatMap(({ metadata }) => {
      const { labels = {} } = metadata
      const vm = labels['vm.kubevirt.io/name'] ?? labels['vmi.kubevirt.io/id']
      return labels['kubevirt.io'] === 'virt-launcher' && labels['kubevirt.io/migrationJobUID'] === undefined && vm !== undefined
        ? [[vm, metadata.name] as const]
        : []
    }),
  )
  const targetPods = new Map(
    pods.flatMap(({ metadata }) => {
      const vm = metadata.annotations?.['kubevirt.io/migrationJobName']?.replace('move-', '')
      return vm === undefined ? [] : [[vm, metadata.name] as const]
    }),
  )
  const attachmentPods = pods.flatMap(({ metadata }) => (metadata.labels?.['kubevirt.io'] === 'hotplug-disk' ? [metadata.name] : []))
  const vms = await api.list(kubevirtPath(namespace, 'virtualmachines'))
  const poolVms = new Map(
    vms.flatMap(({ metadata }) => (metadata.name.startsWith('farm-') ? [[metadata.name, metadata.uid] as const] : [])),
  )
  await bed.powerOff()
  await stopVm(bed, 'stopping')
  await bed.until('the instance of stopping is being deleted', async () => {
    const { metadata } = await api.get<AnyObject>(vmiPath(bed, 'stopping'))
    return metadata.deletionTimestamp !== undefined
  })
  const startSafetyNetMs = Math.min(bed.world.config.startSafetyNetMs, 3_000)
  const played = await bed.failedOver({ config: { startSafetyNetMs, onceVms: 'restart' } })
  const { status } = await bed.fence(played.order.id)
  if (status === undefined) throw new Error('the fence has no status')
  return { ...played, status, uids, poolVms, launcherOf, attachmentPods, targetPods }
}

const record = ({ status }: Instances, name: string): FenceWorkload | undefined =>
  status.workloads.find((workload) => workload.name === name)
const starts = ({ writes }: Instances, name: string): number =>
  writes.filter(({ verb, path }) => verb === 'subresource' && path.endsWith(`/virtualmachines/${name}/start`)).length
const deletes = ({ writes }: Instances, pod: string | undefined): number =>
  writes.findIndex(({ verb, path }) => verb === 'delete' && path.endsWith(`/pods/${String(pod)}`))

async function expectMoved(played: Instances, bed: Bed, name: string): Promise<AnyObject> {
  const vmi = await bed.vmiRuns(name, livingRoom)
  expect(vmi.metadata.uid).not.toBe(played.uids.get(name))
  expect(record(played, name)).toMatchObject({ kind: 'VirtualMachine', uid: played.uids.get(name), state: 'running', newNode: nodeOf(vmi) })
  return vmi
}

export const kubevirtInstances = stage<Instances>({
  name: 'kubevirt-instances',
  play,
  lines: [
    {
      id: 'kubevirt-hot-plug-comes-along',
      part: 'kubevirt/hot-plug',
      says: 'a VM with a hot-plugged volume comes back with it; its attachment pod is left to follow its launcher',
      check: async (played, bed) => {
        await expectMoved(played, bed, 'plugged')
        await bed.until('the volume is plugged in again', async () => isPlugged(await bed.api.get(vmiPath(bed, 'plugged')), 'extra'))
        expect(played.attachmentPods).toHaveLength(1)
        const launcher = deletes(played, played.launcherOf.get('plugged'))
        expect(launcher).toBeGreaterThanOrEqual(0)
        // First it would only be made again on the dead node.
        for (const pod of played.attachmentPods) {
          const at = deletes(played, pod)
          expect(at === -1 || at > launcher).toBe(true)
        }
        const pods = await bed.api.list<AnyObject>(podsPath(bed))
        const attached = pods.filter(({ metadata }) => metadata.labels?.['kubevirt.io'] === 'hotplug-disk')
        expect(attached.map(({ spec }) => bed.roomOf((spec as { nodeName?: string }).nodeName))).toEqual([livingRoom])
      },
    },
    {
      id: 'kubevirt-migration-source-lost',
      part: 'kubevirt/migration-source',
      says: 'a VM whose migration left the lost room starts anew: its target is no rescue, and KubeVirt takes that away itself',
      check: async (played, bed) => {
        await expectMoved(played, bed, 'leaving')
        expect(deletes(played, played.targetPods.get('leaving'))).toBe(-1)
        const pods = await bed.api.list(podsPath(bed))
        expect(pods.map(({ metadata }) => metadata.name)).not.toContain(played.targetPods.get('leaving'))
        const migration = await migrationOf(bed, 'leaving')
        expect(migration === undefined || phaseOf(migration) === 'Failed').toBe(true)
      },
    },
    {
      id: 'kubevirt-migration-target-lost',
      part: 'kubevirt/migration-target',
      says: 'a VM that was moving into the lost room goes on where it is, in the same instance; its target there is cleared, so that the migration fails',
      check: async (played, bed) => {
        expect((await bed.vmiRuns('coming', livingRoom)).metadata.uid).toBe(played.uids.get('coming'))
        expect(deletes(played, played.targetPods.get('coming'))).toBeGreaterThanOrEqual(0)
        await bed.until('the migration has failed', async () => {
          const migration = await migrationOf(bed, 'coming')
          return migration === undefined || phaseOf(migration) === 'Failed'
        })
        expect(record(played, 'coming')).toBeUndefined()
        expect(record(played, played.targetPods.get('coming') ?? '')).toMatchObject({ kind: 'Pod', state: 'cleared' })
      },
    },
    {
      id: 'kubevirt-start-backoff-skipped',
      part: 'kubevirt/start-backoff',
      says: 'a VM that was starting when the room died need not wait out KubeVirt’s back-off for it: that is taken away once',
      check: async (played, bed) => {
        await expectMoved(played, bed, 'booting')
        const skips = played.writes.filter(({ verb, path }) => verb === 'json-patch' && path.endsWith('/virtualmachines/booting/status'))
        expect(skips.map(({ body, outcome }) => ({ body, outcome }))).toEqual([
          { body: [{ op: 'remove', path: '/status/startFailure' }], outcome: 'ok' },
        ])
      },
    },
    {
      id: 'kubevirt-start-backoff-manual',
      part: 'kubevirt/start-backoff',
      says: 'a Manual VM that was starting when the room died is started again: nothing else would',
      check: async (played, bed) => {
        await expectMoved(played, bed, 'booting-manual')
        expect(starts(played, 'booting-manual')).toBe(1)
      },
    },
    {
      id: 'kubevirt-once-restarted',
      part: 'kubevirt/once',
      says: 'with the policy to restart them, a VM of strategy Once comes back: its failed instance is deleted, by its uid, and no other instance ever is',
      check: async (played, bed) => {
        await expectMoved(played, bed, 'once')
        const deleted = played.writes.filter(({ verb, path }) => verb === 'delete' && path.includes('/virtualmachineinstances/'))
        expect(deleted.map(({ path, body, outcome }) => ({ path, body, outcome }))).toEqual([
          { path: vmiPath(bed, 'once'), body: expect.objectContaining({ uid: played.uids.get('once') }) as object, outcome: 'ok' },
        ])
      },
    },
    {
      id: 'kubevirt-stopped-meanwhile-stays',
      part: 'kubevirt/manual',
      says: 'a VM that a person was stopping when the room died is stopped, not started elsewhere',
      check: async (played, bed) => {
        expect(record(played, 'stopping')).toMatchObject({ state: 'stopped', reason: expect.stringContaining('being stopped') as string })
        expect(starts(played, 'stopping')).toBe(0)
        const left = await bed.api.get(vmiPath(bed, 'stopping')).catch((error: unknown) => isApiError(error, 404))
        expect(left).toBe(true)
      },
    },
    {
      id: 'kubevirt-bare-instance-told',
      part: 'kubevirt/bare-instance',
      says: 'an instance without a VM is cleared and told of as failed, for nothing starts it again',
      check: async (played, bed) => {
        const reason = expect.stringContaining('without a VirtualMachine') as string
        expect(record(played, 'alone')).toMatchObject({
          kind: 'VirtualMachineInstance',
          uid: played.uids.get('alone'),
          state: 'failed',
          reason,
        })
        expect(played.events).toContainEqual(
          expect.objectContaining({ kind: 'vm-settled', vm: `${bed.namespace}/alone`, state: 'failed', reason }),
        )
        expect(played.result.failed.map(({ workload }) => workload)).toEqual([`${bed.namespace}/alone`])
        expect((await vmisOf(bed)).some((vmi) => vmi.metadata.name === 'alone' && phaseOf(vmi) === 'Running')).toBe(false)
      },
    },
    {
      id: 'kubevirt-pool',
      part: 'kubevirt/pools-and-sets',
      says: 'the VMs of a pool come back each as itself',
      check: async (played, bed) => {
        expect([...played.poolVms.keys()].toSorted()).toEqual(['farm-0', 'farm-1'])
        for (const [name, uid] of played.poolVms) {
          await expectMoved(played, bed, name)
          expect((await bed.api.get(`${kubevirtPath(bed.namespace, 'virtualmachines')}/${name}`)).metadata.uid).toBe(uid)
        }
      },
    },
    {
      id: 'kubevirt-replica-set',
      part: 'kubevirt/pools-and-sets',
      says: 'the instances of a replica set are each followed to the one that the set runs in its place',
      check: async (played, bed) => {
        const running = await setRuns(bed, 'crowd', livingRoom, 2)
        const lost = played.status.workloads.filter(({ name }) => name.startsWith('crowd'))
        expect(lost.map(({ kind, state }) => `${kind} ${state}`)).toEqual(Array.from({ length: 2 }, () => 'VirtualMachineInstance running'))
        const replacements = lost as readonly (FenceWorkload & { readonly set?: string; readonly replacedBy?: string })[]
        expect(replacements.map(({ replacedBy }) => String(replacedBy)).toSorted()).toEqual(
          running.map(({ metadata }) => metadata.name).toSorted(),
        )
        for (const { replacedBy, newNode, set, uid, name } of replacements) {
          const other = running.find(({ metadata }) => metadata.name === replacedBy)
          expect(other === undefined ? undefined : nodeOf(other)).toBe(newNode)
          expect(other === undefined ? undefined : controllerOf(other)).toBe(set)
          expect(uid).toBe(played.uids.get(name))
        }
      },
    },
    {
      id: 'kubevirt-each-ends-with-a-reason',
      part: 'kubevirt/followed',
      says: 'of instances of every kind, none is left between: each runs on a survivor, or is stopped or failed with a reason',
      check: async ({ status, result }) => {
        expect(result.outcome).toBe('finished')
        for (const { name, kind, state, reason } of status.workloads) {
          if (kind === 'Pod') continue
          expect([name, ['running', 'stopped', 'failed'].includes(state)]).toEqual([name, true])
          if (state !== 'running') expect([name, reason]).not.toEqual([name, ''])
        }
      },
    },
  ],
})
