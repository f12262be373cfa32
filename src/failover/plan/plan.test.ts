import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  exampleInput,
  exampleLauncher,
  exampleFence,
  examplePod,
  exampleRecord,
  exampleVm,
  exampleVmi,
  exampleVolume,
  exampleVolumes,
} from '../../../test/support/failover-examples.ts'
import type { PodView } from '../../kubernetes/resources.ts'
import { emptyFenceStatus } from '../fence/fence.ts'
import type { ProofAnswer } from '../fence/proofs.ts'
import type { PlanInput } from './plan-input.ts'
import { type Plan, planFailover } from './plan.ts'
import type { Step } from './steps.ts'

const steps = (plan: Plan): readonly Step[] => plan.stages.flatMap((stage) => stage.steps)
const deleted = (plan: Plan): readonly string[] => steps(plan).flatMap((step) => (step.kind === 'delete-pod' ? [step.pod.name] : []))
const outOfService = (plan: Plan): readonly string[] =>
  steps(plan).flatMap((step) => (step.kind === 'taint' && step.taint.key === 'node.kubernetes.io/out-of-service' ? [step.node] : []))
const never: ProofAnswer = { isProved: false, reason: 'no watchdog' }

describe('a plan', () => {
  test('taints all nodes of the fence before anything else, as a barrier', () => {
    const [first, ...others] = planFailover(exampleInput({ vms: ['one'] })).stages
    expect(first).toMatchObject({ name: 'fenced taints', barrier: true })
    expect(first?.steps.map((step) => step.key)).toEqual(['taint b1 fenced', 'taint b2 fenced'])
    expect(others.every((stage) => stage.steps.every((step) => step.kind !== 'taint' || step.taint.key !== 'roomfence.io/fenced'))).toBe(
      true,
    )
  })

  test('clears control pods in their order, then VMs by priority, then stateful pods, then the rest', () => {
    const pods = [
      examplePod('web'),
      examplePod('db-0', { owner: { kind: 'StatefulSet', name: 'db', uid: 'db' } }),
      examplePod('virt-controller', { labels: { 'kubevirt.io': 'virt-controller' } }),
      examplePod('virt-api', { labels: { 'kubevirt.io': 'virt-api' } }),
      exampleLauncher('low'),
      exampleLauncher('high', { priority: 10 }),
      exampleLauncher('asked', { annotations: { 'roomfence.io/priority': '99' } }),
    ]
    const plan = planFailover(exampleInput({ vms: ['low', 'high', 'asked'], snapshot: { pods } }))
    expect(deleted(plan)).toEqual(['virt-api', 'virt-controller', 'launcher-asked', 'launcher-high', 'launcher-low', 'db-0', 'web'])
  })

  test('clears VMs in waves, and with the readiness gate the next one only when the one before runs or has had its time', () => {
    const names = Array.from({ length: 45 }, (_, index) => `vm${String(index).padStart(2, '0')}`)
    const input = exampleInput({ vms: names })
    const waves = (plan: Plan) => plan.stages.filter((stage) => stage.name.startsWith('VM wave')).map((stage) => stage.steps.length)
    expect(waves(planFailover(input))).toEqual([20, 20, 5])
    const gated = { ...input, config: { ...input.config, waveReadinessGate: true } }
    const first = planFailover(gated)
    expect(waves(first)).toEqual([20])
    // The first wave is gone, none of it runs yet.
    const afterFirst = (more: Partial<PlanInput>): PlanInput => ({
      ...gated,
      ...more,
      snapshot: { ...gated.snapshot, recorded: first.status, pods: gated.snapshot.pods.slice(20) },
    })
    expect(waves(planFailover(afterFirst({})))).toEqual([])
    const since = new Map(names.slice(0, 20).map((name) => [`wave vmi-${name}`, 0]))
    expect(waves(planFailover(afterFirst({ sinceMs: since, nowMs: gated.config.waveReadyMs })))).toEqual([20])
  })

  test('deletes nothing that has no proof, and says what it waits for', () => {
    const plan = planFailover(exampleInput({ vms: ['one'], proofs: { node: () => never, workload: () => never } }))
    expect(deleted(plan)).toEqual([])
    expect(outOfService(plan)).toEqual(['b2'])
    expect(plan.status.workloads).toMatchObject([{ name: 'one', state: 'waiting', reason: 'no watchdog' }])
    expect(plan.status.nodes[0]).toMatchObject({ name: 'b1', waitingFor: 'apps/launcher-one: no watchdog' })
  })

  test('needs the node, not the storage, for volumes that are not DRBD, for unknown claims, for StatefulSet pods and for VMs without storage', () => {
    const claims = (...names: readonly string[]): PodView['volumes'] => names.map((claim) => ({ kind: 'claim', claim, readOnly: false }))
    const pods = [
      examplePod('nfs', { volumes: claims('nfs') }),
      examplePod('mixed', { volumes: claims('nfs', 'drbd') }),
      examplePod('unknown', { volumes: claims('nowhere') }),
      examplePod('db-0', { owner: { kind: 'StatefulSet', name: 'db', uid: 'db' } }),
      exampleLauncher('diskless', { volumes: [] }),
      examplePod('drbd', { volumes: claims('drbd') }),
      examplePod('plain'),
    ]
    const volumes = new Map([
      ['pv-nfs', exampleVolume('nfs', { driver: 'nfs', handle: '' })],
      ['pv-drbd', exampleVolume('drbd')],
    ])
    const vmis = new Map([['apps/diskless', exampleVmi('diskless', { claims: [] })]])
    const proofs = { node: () => never, workload: (): ProofAnswer => ({ isProved: true, proof: { kind: 'storage' } }) }
    const plan = planFailover(
      exampleInput({ snapshot: { pods, volumes, vmis, vms: new Map([['apps/diskless', exampleVm('diskless')]]) }, proofs }),
    )
    expect([...deleted(plan)].sort()).toEqual(['drbd', 'plain'])
  })

  test('asks for the proof of hot-plugged disks too', () => {
    const asked: (readonly string[])[] = []
    planFailover(
      exampleInput({
        vms: ['one'],
        snapshot: {
          vmis: new Map([['apps/one', exampleVmi('one', { claims: ['one', 'hot'] })]]),
          volumes: exampleVolumes('one', 'hot'),
        },
        proofs: {
          node: () => never,
          workload: (_, resources) => {
            asked.push(resources)
            return never
          },
        },
      }),
    )
    expect(asked).toContainEqual(['drbd-hot', 'drbd-one'])
  })

  test('clears launcher and migration target of one VM together or not at all', () => {
    const target = exampleLauncher('one', { name: 'target', uid: 'target', nodeName: 'b2' })
    const input = (b2: ProofAnswer) =>
      exampleInput({
        vms: ['one'],
        snapshot: { pods: [exampleLauncher('one'), target] },
        proofs: { node: () => never, workload: (node) => (node === 'b2' ? b2 : { isProved: true, proof: { kind: 'storage' } }) },
      })
    expect(deleted(planFailover(input(never)))).toEqual([])
    expect(deleted(planFailover(input({ isProved: true, proof: { kind: 'storage' } })))).toEqual(['launcher-one', 'target'])
  })

  test('removes the target of a VM that lives on a survivor, stale replica or not, and leaves the VM alone', () => {
    const plan = planFailover(
      exampleInput({
        vms: ['one'],
        snapshot: { vmis: new Map([['apps/one', exampleVmi('one', { nodeName: 'a1' })]]) },
        dataGate: () => ({ open: false, reason: 'stale' }),
      }),
    )
    expect(deleted(plan)).toEqual(['launcher-one'])
    expect(plan.status.workloads).toMatchObject([{ kind: 'Pod', name: 'launcher-one' }])
  })

  test('keeps a node in service while an attachment without a pod has no proof', () => {
    const volumeAttachments = [
      {
        uid: 'va',
        name: 'va',
        resourceVersion: '1',
        attacher: 'linstor',
        nodeName: 'b2',
        persistentVolume: 'pv-lost',
        isTerminating: false,
        finalizers: [],
      },
    ]
    const plan = planFailover(exampleInput({ snapshot: { volumeAttachments }, proofs: { node: () => never, workload: () => never } }))
    expect(outOfService(plan)).toEqual(['b1'])
  })

  test("releases a leader Lease only with the proof of its holder's node", () => {
    const leases = [{ uid: 'l', name: 'kcm', namespace: 'kube-system', resourceVersion: '1', holder: 'b1_5f', renewTime: '' }]
    const released = (proof: ProofAnswer) =>
      steps(planFailover(exampleInput({ snapshot: { leases }, proofs: { node: () => proof, workload: () => never } }))).filter(
        (step) => step.kind === 'release-lease',
      ).length
    expect([released(never), released({ isProved: true, proof: { kind: 'killed' } })]).toEqual([0, 1])
  })

  test('sets a Job pod Failed before it deletes it, and the delete needs that', () => {
    const job = examplePod('batch', {
      owner: { kind: 'Job', name: 'batch', uid: 'batch' },
      finalizers: ['batch.kubernetes.io/job-tracking'],
    })
    const [fail, clear] = steps(planFailover(exampleInput({ snapshot: { pods: [job] } }))).filter(
      (step) => step.kind === 'fail-pod' || step.kind === 'delete-pod',
    )
    expect(fail?.kind).toBe('fail-pod')
    expect(clear?.needs).toBe(fail?.key)
  })

  test('reports finalizers of others and does not delete again', () => {
    const kept = examplePod('kept', { isTerminating: true, deletionGracePeriodSeconds: 0, finalizers: ['example.org/keep'] })
    const plan = planFailover(exampleInput({ snapshot: { pods: [kept] } }))
    expect(deleted(plan)).toEqual([])
    expect(plan.status.stuck).toEqual(['pod apps/kept: it is deleted, and kept by finalizers of others: example.org/keep'])
    expect(plan.status.phase).not.toBe('Finished')
  })

  test('leaves hot-plug pods to their owner and sweeps up those whose launcher is gone', () => {
    const hotplug = examplePod('hp-volume-1', { owner: { kind: 'Pod', name: 'launcher-one', uid: 'uid-launcher-one' } })
    expect(deleted(planFailover(exampleInput({ vms: ['one'], snapshot: { pods: [exampleLauncher('one'), hotplug] } })))).toEqual([
      'launcher-one',
    ])
    expect(deleted(planFailover(exampleInput({ snapshot: { pods: [hotplug] } })))).toEqual(['hp-volume-1'])
  })

  test('ends only after a moment in which the scheduler could say that it has no node for what was cleared', () => {
    const input = exampleInput({ snapshot: { nodes: new Map() } })
    const first = planFailover(input)
    expect(first).toMatchObject({ status: { phase: 'Acting', finishedAt: '' }, lookAgainInMs: 2_000 })
    const later = planFailover({ ...input, nowMs: 2_000, sinceMs: new Map([['settled', 0]]) })
    expect(later).toMatchObject({ status: { phase: 'Finished' }, lookAgainInMs: undefined })
  })

  test('has nothing to do with nodes that were un-fenced', () => {
    const unfenced = [{ node: 'b1', by: 'me', at: '', epoch: 8, overridden: [] }]
    const plan = planFailover(exampleInput({ vms: ['one'], snapshot: { recorded: { ...emptyFenceStatus, unfenced } } }))
    expect(steps(plan).map((step) => step.key)).toEqual(['taint b2 fenced', 'taint b2 node.kubernetes.io/out-of-service'])
  })

  test('starts nothing for a VM whose pod went by other hands before there was a proof', () => {
    const workloads = [exampleRecord('one', { runStrategy: 'Manual', proof: '' })]
    const plan = planFailover(
      exampleInput({
        vms: ['one'],
        snapshot: {
          pods: [],
          vms: new Map([['apps/one', exampleVm('one', { runStrategy: 'Manual' })]]),
          vmis: new Map([['apps/one', exampleVmi('one', { phase: 'Failed' })]]),
          recorded: { ...emptyFenceStatus, workloads },
        },
      }),
    )
    expect(steps(plan).filter((step) => step.kind === 'vm')).toEqual([])
    expect(plan.status.workloads[0]?.state).toBe('failed')
  })

  test('never clears a pod that can write without its proof and an open gate, nor before all taints, and records VMs first', () => {
    const answer = fc.oneof(fc.constant(never), fc.constant<ProofAnswer>({ isProved: true, proof: { kind: 'storage' } }))
    const kind = fc.constantFrom('VirtualMachineInstance', 'StatefulSet', 'DaemonSet', 'Job', 'ReplicaSet')
    const pod = fc.record({
      kind,
      node: fc.constantFrom('b1', 'b2'),
      isTerminating: fc.boolean(),
      hasVolume: fc.boolean(),
      optOut: fc.boolean(),
      isImmune: fc.boolean(),
    })
    fc.assert(
      fc.property(
        fc.array(pod, { maxLength: 8 }),
        fc.array(answer, { minLength: 8, maxLength: 8 }),
        fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
        answer,
        (shapes, storage, open, node) => {
          const indexOf = (handle: string | undefined): number => Number(handle?.replace('drbd-v', ''))
          const pods = shapes.map((shape, index) =>
            examplePod(`p${String(index)}`, {
              nodeName: shape.node,
              isTerminating: shape.isTerminating,
              owner: { kind: shape.kind, name: `o${String(index)}`, uid: `vmi-o${String(index)}` },
              volumes: shape.hasVolume ? [{ kind: 'claim', claim: `v${String(index)}`, readOnly: false }] : [],
              annotations: shape.optOut ? { 'roomfence.io/opt-out': 'true' } : {},
              tolerations: shape.isImmune ? [{ operator: 'Exists', effect: 'NoExecute' }] : [],
            }),
          )
          const input = exampleInput({
            snapshot: {
              pods,
              volumes: exampleVolumes(...pods.map((_, index) => `v${String(index)}`)),
              vmis: new Map(
                shapes.flatMap((shape, index) =>
                  shape.kind === 'VirtualMachineInstance'
                    ? [[`apps/o${String(index)}`, exampleVmi(`o${String(index)}`, { claims: [], nodeName: shape.node })]]
                    : [],
                ),
              ),
            },
            proofs: { node: () => node, workload: (_, [handle]) => storage[indexOf(handle)] ?? never },
            // What could not be made immune is no longer waited for.
            nowMs: 60_000,
            sinceMs: new Map(['b1', 'b2'].map((node) => [`immunity ${node}`, 0])),
            dataGate: ([volume]) => (open[indexOf(volume?.handle)] === true ? { open: true } : { open: false, reason: 'stale' }),
          })
          const plan = planFailover(input)
          expect(plan.stages[0]?.barrier).toBe(true)
          const cleared = new Set(deleted(plan))
          for (const [index, shape] of shapes.entries()) {
            const isProved = shape.hasVolume
              ? storage[index]?.isProved === true
              : node.isProved || !['VirtualMachineInstance', 'StatefulSet'].includes(shape.kind)
            const isOpen = !shape.hasVolume || open[index] === true
            expect(cleared.has(`p${String(index)}`), JSON.stringify({ index, shape })).toBe(
              isProved && isOpen && !shape.optOut && shape.kind !== 'DaemonSet',
            )
            if (cleared.has(`p${String(index)}`) && shape.kind === 'VirtualMachineInstance') {
              expect(
                plan.status.workloads.some((workload) => workload.uid === `vmi-o${String(index)}` && workload.state === 'ordered'),
              ).toBe(true)
            }
            const needsProof = shape.hasVolume || ['VirtualMachineInstance', 'StatefulSet'].includes(shape.kind)
            const mustNotBeReleased =
              needsProof &&
              (shape.optOut || shape.kind === 'DaemonSet'
                ? shape.isTerminating || (shape.optOut && !shape.isImmune)
                : !isProved || (!isOpen && (shape.isTerminating || !shape.isImmune)))
            if (mustNotBeReleased) expect(outOfService(plan), JSON.stringify({ index, shape })).not.toContain(shape.node)
          }
        },
      ),
    )
  })

  test('planned again from what it wrote, does not change its record', () => {
    const input = exampleInput({ vms: ['one', 'two'], proofs: { node: () => never, workload: () => never } })
    const { status } = planFailover(input)
    expect(planFailover({ ...input, snapshot: { ...input.snapshot, recorded: status }, isoTime: 'later' }).status).toEqual(status)
    expect(exampleFence.nodes).toHaveLength(2)
  })
})
