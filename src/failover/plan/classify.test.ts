/** What a pod of a fenced node is, whatever its labels and tolerations pretend. */
import { describe, expect, test } from 'vitest'
import {
  exampleInput,
  exampleLauncher,
  examplePod,
  exampleVm,
  exampleVmi,
  exampleVolumes,
} from '../../../test/support/failover-examples.ts'
import type { PodView } from '../../kubernetes/resources.ts'
import type { ProofAnswer } from '../fence/proofs.ts'
import type { PlanInput } from './plan-input.ts'
import { type Plan, planFailover } from './plan.ts'

const never: ProofAnswer = { isProved: false, reason: 'no watchdog' }
const deleted = (plan: Plan): readonly string[] =>
  plan.stages.flatMap(({ steps }) => steps.flatMap((step) => (step.kind === 'delete-pod' ? [step.pod.name] : [])))

describe('a VM whose template carries a control label', () => {
  const labels = { 'roomfence.io/control': 'yes' }
  const diskless = (more: Partial<PlanInput> = {}): PlanInput =>
    exampleInput({
      vms: ['one'],
      snapshot: {
        pods: [exampleLauncher('one', { labels, volumes: [] })],
        vms: new Map([['apps/one', exampleVm('one', { runStrategy: 'Manual' })]]),
        vmis: new Map([['apps/one', exampleVmi('one', { claims: [] })]]),
      },
      ...more,
    })

  test('is cleared on a proof only, though it has no disk', () => {
    const unproved = planFailover(diskless({ proofs: { node: () => never, workload: () => never } }))
    expect(deleted(unproved)).toEqual([])
    expect(unproved.status.workloads).toMatchObject([
      { kind: 'VirtualMachine', name: 'one', state: 'waiting', reason: expect.stringContaining('a VM runs at most once') as string },
    ])
  })

  test('is recorded, followed and, of strategy Manual, started again', () => {
    const input = diskless()
    const ordered = planFailover(input)
    expect(deleted(ordered)).toEqual(['launcher-one'])
    expect(ordered.status.workloads).toMatchObject([{ kind: 'VirtualMachine', name: 'one', runStrategy: 'Manual', state: 'ordered' }])
    const gone = { ...input.snapshot, pods: [], vmis: new Map([['apps/one', exampleVmi('one', { phase: 'Failed' })]]) }
    const after = planFailover({ ...input, snapshot: { ...gone, recorded: ordered.status } })
    expect(after.stages.flatMap(({ steps }) => steps)).toContainEqual(expect.objectContaining({ kind: 'vm', action: { kind: 'start' } }))
  })

  test('has its attachment pods left to it, and the target of its migration cleared with it', () => {
    const target = exampleLauncher('one', { name: 'target', uid: 'target', nodeName: 'b2', labels, volumes: [] })
    const attached: PodView = {
      ...target,
      name: 'hp',
      uid: 'hp',
      nodeName: 'b1',
      owner: { kind: 'Pod', name: 'l', uid: 'uid-launcher-one' },
    }
    const input = diskless()
    const pods = [...input.snapshot.pods, target, attached]
    const proofs = (b2: ProofAnswer): PlanInput['proofs'] => ({
      ...input.proofs,
      node: (node) => (node === 'b2' ? b2 : { isProved: true, proof: { kind: 'killed' } }),
    })
    const plan = (b2: ProofAnswer) => planFailover({ ...input, snapshot: { ...input.snapshot, pods }, proofs: proofs(b2) })
    expect(deleted(plan(never))).toEqual([])
    expect(deleted(plan({ isProved: true, proof: { kind: 'killed' } }))).toEqual(['launcher-one', 'target'])
  })
})

describe('a pod that tolerates', () => {
  const statefulSet = { kind: 'StatefulSet', name: 'db', uid: 'db' }
  const disk: PodView['volumes'] = [{ kind: 'claim', claim: 'db', readOnly: false }]
  const evictedLate = ['unreachable', 'not-ready'].map((state) => ({
    key: `node.kubernetes.io/${state}`,
    operator: 'Exists',
    effect: 'NoExecute',
    tolerationSeconds: 300,
  }))
  const plan = (tolerations: PodView['tolerations'], more: Partial<PodView> = {}): Plan =>
    planFailover(
      exampleInput({
        snapshot: {
          pods: [examplePod('db-0', { owner: statefulSet, volumes: disk, tolerations, ...more })],
          volumes: exampleVolumes('db'),
        },
      }),
    )
  const kinds = (of: Plan, node = 'b1'): readonly string[] =>
    of.stages.flatMap(({ steps }) =>
      steps.flatMap((step) => (step.kind === 'taint' ? (step.node === node ? [step.taint.key.replace(/.*\//, '')] : []) : [step.kind])),
    )
  const all = { operator: 'Exists' }
  const noSchedule = { ...all, effect: 'NoSchedule' }
  const noExecute = { ...all, effect: 'NoExecute' }

  test.each([[[all]], [[noSchedule, noExecute]], [[all, { ...all, key: 'x', effect: 'NoExecute', tolerationSeconds: 1 }]]])(
    'every taint for good is left alone: nobody moves it (%j)',
    (tolerations) => {
      const stays = plan(tolerations)
      expect(kinds(stays)).toEqual(['fenced', 'out-of-service'])
      expect(stays.status.workloads).toMatchObject([{ state: 'skipped', reason: expect.stringContaining('every taint') as string }])
    },
  )

  test.each([
    [[noSchedule, ...evictedLate]],
    [[noSchedule, { ...noExecute, tolerationSeconds: 600 }]],
    [
      [
        { key: 'roomfence.io/fenced', operator: 'Exists' },
        { key: 'node.kubernetes.io/out-of-service', operator: 'Equal', value: 'roomfence', effect: 'NoSchedule' },
      ],
    ],
  ])('our taints, but is evicted in time, is left alone and made immune before its node is out of service (%j)', (tolerations) => {
    const stays = plan(tolerations)
    expect(kinds(stays)).toEqual(['fenced', 'tolerate'])
    expect(stays.status.workloads).toMatchObject([{ state: 'skipped', reason: expect.stringContaining('placed there again') as string }])
    expect(stays.status.nodes[0]?.waitingFor).toMatch(/^apps\/db-0 is to be left alone and not immune/)
  })

  test('our taints, and may run twice, is left to Kubernetes: it moves it in time', () => {
    expect(kinds(plan([noSchedule, ...evictedLate], { owner: { kind: 'ReplicaSet', name: 'web', uid: 'web' }, volumes: [] }))).toEqual([
      'fenced',
      'out-of-service',
    ])
  })

  test('eviction alone, or one of our taints, is a pod like any other', () => {
    expect(deleted(plan([noExecute]))).toEqual(['db-0'])
    expect(deleted(plan([{ ...noSchedule, key: 'roomfence.io/fenced' }]))).toEqual(['db-0'])
    expect(deleted(plan([{ ...noSchedule, key: 'node-role.kubernetes.io/control-plane' }]))).toEqual(['db-0'])
  })

  test('whatever it likes is cleared as a launcher, and left to its launcher as an attachment pod', () => {
    const attached = examplePod('hp', { owner: { kind: 'Pod', name: 'launcher-one', uid: 'uid-launcher-one' }, tolerations: [all] })
    const pods = [exampleLauncher('one', { tolerations: [noSchedule] }), { ...attached, isTerminating: true, volumes: disk }]
    const moved = planFailover(exampleInput({ vms: ['one'], snapshot: { pods, volumes: exampleVolumes('one', 'db') } }))
    expect(kinds(moved)).toEqual(['fenced', 'out-of-service', 'delete-pod'])
  })
})
