/** What a plan does with KubeVirt's pods and instances beyond one launcher of one VM. */
import { describe, expect, test } from 'vitest'
import {
  exampleInput,
  exampleLauncher,
  examplePod,
  exampleRecord,
  exampleVmi,
  exampleVolumes,
} from '../../../test/support/failover-examples.ts'
import { type PodView, type VirtualMachineInstanceView, virtualMachineInstanceView } from '../../kubernetes/resources.ts'
import { emptyFenceStatus, type RecordedWorkload } from '../fence/fence.ts'
import { type Plan, planFailover } from './plan.ts'
import type { Step } from './steps.ts'

const steps = (plan: Plan): readonly Step[] => plan.stages.flatMap((stage) => stage.steps)
const deleted = (plan: Plan): readonly string[] => steps(plan).flatMap((step) => (step.kind === 'delete-pod' ? [step.pod.name] : []))
const hotplug = (claim: string, more: Partial<PodView> = {}): PodView =>
  examplePod(`hp-volume-${claim}`, {
    labels: { 'kubevirt.io': 'hotplug-disk' },
    owner: { kind: 'Pod', name: 'launcher-one', uid: 'uid-launcher-one' },
    volumes: [{ kind: 'claim', claim, readOnly: false }],
    ...more,
  })
const withExtra = exampleVolumes('one', 'extra')

describe('a VM with hot-plugged volumes', () => {
  const pods = [exampleLauncher('one'), hotplug('extra')]

  test('is cleared on the proof of all of them, also of one that its instance just gave up', () => {
    const proved = new Set(['drbd-one'])
    const input = exampleInput({
      vms: ['one'],
      snapshot: { pods, volumes: withExtra },
      proofs: {
        node: () => ({ isProved: false, reason: 'no watchdog' }),
        workload: (_node, resources) =>
          resources.every((resource) => proved.has(resource))
            ? { isProved: true, proof: { kind: 'storage' } }
            : { isProved: false, reason: 'not frozen' },
      },
    })
    expect(deleted(planFailover(input))).toEqual([])
    proved.add('drbd-extra')
    expect(deleted(planFailover(input))).toEqual(['launcher-one'])
  })

  test('is held with its attachment pods immune, too, while one of its volumes has no good replica', () => {
    const vmis = new Map([['apps/one', exampleVmi('one', { claims: ['one', 'extra'] })]])
    const plan = planFailover(
      exampleInput({
        vms: ['one'],
        snapshot: { pods, vmis, volumes: withExtra },
        dataGate: (volumes) =>
          volumes.some(({ handle }) => handle === 'drbd-one') ? { open: false, reason: 'no UpToDate replica of drbd-one' } : { open: true },
      }),
    )
    expect(deleted(plan)).toEqual([])
    expect(steps(plan).flatMap((step) => (step.kind === 'tolerate' ? [step.pod.name] : []))).toEqual(['launcher-one', 'hp-volume-extra'])
    expect(plan.status.workloads).toMatchObject([{ name: 'one', state: 'held' }])
  })

  test('has claims of every kind: disks, data volumes, memory dumps and utility volumes', () => {
    const view = virtualMachineInstanceView({
      metadata: { name: 'one', namespace: 'apps', uid: 'u' },
      spec: {
        volumes: [
          { name: 'a', persistentVolumeClaim: { claimName: 'disk' } },
          { name: 'b', dataVolume: { name: 'data' } },
          { name: 'c', memoryDump: { claimName: 'dump', hotpluggable: true } },
          { name: 'd', containerDisk: { image: 'x' } },
        ],
        utilityVolumes: [{ name: 'e', claimName: 'backup', type: 'Backup' }],
      },
    })
    expect(view.claims).toEqual(['disk', 'data', 'dump', 'backup'])
  })
})

describe('the instances of a set', () => {
  const set = { kind: 'VirtualMachineInstanceReplicaSet', name: 'farm', uid: 'set' }
  const lost = ['farm-a', 'farm-b'].map((name) => exampleVmi(name, { owner: set }))
  const made = (name: string, more: Partial<VirtualMachineInstanceView> = {}): VirtualMachineInstanceView =>
    exampleVmi(name, { owner: set, createdAt: '2026-01-01T00:00:05Z', nodeName: 'a1', ...more })
  const byName = (items: readonly VirtualMachineInstanceView[]) => new Map(items.map((item) => [`apps/${item.name}`, item]))
  const plan = (vmis: readonly VirtualMachineInstanceView[], workloads: readonly RecordedWorkload[], pods: readonly PodView[] = []) =>
    planFailover(exampleInput({ snapshot: { pods, vmis: byName(vmis), recorded: { ...emptyFenceStatus, workloads } } }))
  const recorded = plan(
    lost,
    [],
    lost.map(({ name }) => exampleLauncher(name, { volumes: [] })),
  ).status.workloads

  test('are recorded with their set', () => {
    expect(recorded).toMatchObject([
      { kind: 'VirtualMachineInstance', name: 'farm-a', set: 'set' },
      { kind: 'VirtualMachineInstance', name: 'farm-b', set: 'set' },
    ])
  })

  test('are each followed to another one that the set made since, and each of those stands in for one', () => {
    const before = made('farm-old', { createdAt: '2025-12-31T00:00:00Z' })
    const other = made('other', { owner: { ...set, uid: 'another set' } })
    expect(plan([before, other], recorded).status.workloads).toMatchObject([{ state: 'ordered' }, { state: 'ordered' }])
    const one = plan([before, other, made('farm-x', { phase: 'Scheduling', nodeName: '' }), made('farm-m')], recorded).status.workloads
    expect(one).toMatchObject([
      { name: 'farm-a', state: 'running', newNode: 'a1', replacedBy: 'farm-m' },
      { name: 'farm-b', state: 'ordered', reason: 'farm-x, which its set made, is Scheduling' },
    ])
    const both = plan([before, made('farm-x', { nodeName: 'a2' }), made('farm-m')], one).status
    expect(both.workloads).toMatchObject([
      { replacedBy: 'farm-m', newNode: 'a1' },
      { state: 'running', replacedBy: 'farm-x', newNode: 'a2' },
    ])
    expect(both.workloads).toHaveLength(2)
  })
})

describe('an instance whose pod went by other hands', () => {
  test('is waited for without a touch, and told of when it would need a start', () => {
    const input = exampleInput({ vms: ['one'], snapshot: { pods: [] }, nowMs: 60_000, sinceMs: new Map([['cleared vmi-one', 0]]) })
    const waiting = planFailover(input)
    expect(waiting.status.workloads).toMatchObject([{ state: 'ordered', proof: '' }])
    expect(steps(waiting).filter(({ kind }) => kind === 'vm')).toEqual([])
    const workloads = [exampleRecord('one', { proof: '', runStrategy: 'Manual' })]
    const vms = new Map([...input.snapshot.vms].map(([name, vm]) => [name, { ...vm, runStrategy: 'Manual' }]))
    const failed = planFailover({
      ...input,
      snapshot: { ...input.snapshot, vms, vmis: new Map(), recorded: { ...emptyFenceStatus, workloads } },
    })
    expect(failed.status.workloads).toMatchObject([{ state: 'failed', reason: expect.stringContaining('other hands') as string }])
    expect(steps(failed).filter(({ kind }) => kind === 'vm')).toEqual([])
  })
})

describe('a launcher that a migration left behind', () => {
  test('is cleared without asking for replicas, and its VM, which runs on a survivor by now, is none of the fence', () => {
    const vmis = new Map([['apps/one', exampleVmi('one', { nodeName: 'a1' })]])
    const plan = planFailover(
      exampleInput({ vms: ['one'], snapshot: { vmis }, dataGate: () => ({ open: false, reason: 'none is UpToDate' }) }),
    )
    expect(deleted(plan)).toEqual(['launcher-one'])
    expect(plan.status.workloads).toMatchObject([{ kind: 'Pod', name: 'launcher-one' }])
  })
})

describe('an instance that someone was stopping when its node died', () => {
  test('is recorded as such, for its phase says nothing of it', () => {
    const vmis = new Map([['apps/one', exampleVmi('one', { isTerminating: true })]])
    expect(planFailover(exampleInput({ vms: ['one'], snapshot: { vmis } })).status.workloads).toMatchObject([
      { phaseBefore: 'Terminating' },
    ])
  })
})
