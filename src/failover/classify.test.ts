/** What a pod of a fenced node is, whatever its labels and tolerations pretend. */
import { describe, expect, test } from 'vitest'
import type { PodView } from '../kubernetes/resources.ts'
import { exampleInput, exampleLauncher, exampleVm, exampleVmi } from './examples.ts'
import type { ProofAnswer } from './order.ts'
import { type Plan, type PlanInput, planFailover } from './plan.ts'

const never: ProofAnswer = { held: false, reason: 'no watchdog' }
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
      node: (node) => (node === 'b2' ? b2 : { held: true, proof: { kind: 'killed' } }),
    })
    const plan = (b2: ProofAnswer) => planFailover({ ...input, snapshot: { ...input.snapshot, pods }, proofs: proofs(b2) })
    expect(deleted(plan(never))).toEqual([])
    expect(deleted(plan({ held: true, proof: { kind: 'killed' } }))).toEqual(['launcher-one', 'target'])
  })
})
