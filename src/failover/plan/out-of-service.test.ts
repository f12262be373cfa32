/** What has to be immune to Kubernetes' own eviction before a node is put out of service, and what is done meanwhile. */
import { describe, expect, test } from 'vitest'
import { exampleInput, exampleLauncher, examplePod, exampleVolumes } from '../../../test/support/failover-examples.ts'
import type { PodView } from '../../kubernetes/resources.ts'
import type { ProofAnswer } from '../fence/proofs.ts'
import { outOfServiceTaint } from '../fence/taints.ts'
import type { PlanInput } from './plan-input.ts'
import { type Plan, planFailover } from './plan.ts'
import type { Step } from './steps.ts'

const steps = (plan: Plan): readonly Step[] => plan.stages.flatMap((stage) => stage.steps)
const deleted = (plan: Plan): readonly string[] => steps(plan).flatMap((step) => (step.kind === 'delete-pod' ? [step.pod.name] : []))
const outOfService = (plan: Plan): readonly string[] =>
  steps(plan).flatMap((step) => (step.kind === 'taint' && step.taint.key === outOfServiceTaint.key ? [step.node] : []))
const waitsFor = (plan: Plan, node = 'b1'): string | undefined => plan.status.nodes.find(({ name }) => name === node)?.waitingFor

const evictedLate = ['unreachable', 'not-ready'].map((state) => ({
  key: `node.kubernetes.io/${state}`,
  operator: 'Exists',
  effect: 'NoExecute',
  tolerationSeconds: 300,
}))
const immune: PodView['tolerations'] = evictedLate.map(({ tolerationSeconds: _limit, ...toleration }) => toleration)

/** A VM `stale` that is held on b1, beside one that may go, and another on b2. */
const withBlocked = (tolerations: PodView['tolerations'], more: Partial<PlanInput> = {}): PlanInput => ({
  ...exampleInput({
    vms: ['stale', 'fresh', 'beside'],
    snapshot: {
      pods: [
        exampleLauncher('stale', { tolerations }),
        exampleLauncher('fresh', { tolerations: evictedLate }),
        exampleLauncher('beside', { nodeName: 'b2', tolerations: evictedLate }),
      ],
    },
    dataGate: ([volume]) => (volume?.handle === 'drbd-stale' ? { open: false, reason: 'Outdated on every survivor' } : { open: true }),
  }),
  ...more,
})
const later = { nowMs: 2_000, sinceMs: new Map([['immunity b1', 0]]) }

describe('a node with a held VM', () => {
  test('is not put out of service before the VM is seen to be immune, and says so', () => {
    const plan = planFailover(withBlocked(evictedLate))
    expect(steps(plan)).toContainEqual(expect.objectContaining({ key: 'tolerate uid-launcher-stale' }))
    expect(outOfService(plan)).toEqual(['b2'])
    expect(waitsFor(plan)).toBe("apps/launcher-stale is blocked and not immune to Kubernetes' own eviction yet: Outdated on every survivor")
    expect(outOfService(planFailover(withBlocked(immune)))).toEqual(['b1', 'b2'])
  })

  test('has nothing cleared in that moment, and what is ready when it lasts: the node stays in service, with the reason of the API server', () => {
    const first = planFailover(withBlocked(evictedLate))
    expect(deleted(first)).toEqual([])
    expect(first).toMatchObject({ lookAgainInMs: 2_000, status: { phase: 'Acting' } })
    const refused = new Map([['tolerate uid-launcher-stale', 'the ServiceAccount lacks a rule: pods, patch']])
    const plan = planFailover(withBlocked(evictedLate, { ...later, refused }))
    expect(deleted(plan)).toEqual(['launcher-beside', 'launcher-fresh'])
    expect(outOfService(plan)).toEqual(['b2'])
    expect(waitsFor(plan)).toBe(
      "apps/launcher-stale is blocked and not immune to Kubernetes' own eviction yet (its tolerations cannot be changed: the ServiceAccount lacks a rule: pods, patch): Outdated on every survivor",
    )
  })

  test('clears what may go at once when both taints are there, or when something else keeps the node in service anyway', () => {
    const input = withBlocked(evictedLate)
    const nodes = new Map([...input.snapshot.nodes].map(([name, node]) => [name, { ...node, taints: [outOfServiceTaint] }]))
    expect(deleted(planFailover({ ...input, snapshot: { ...input.snapshot, nodes } }))).toContain('launcher-fresh')
    const never: ProofAnswer = { isProved: false, reason: 'no watchdog' }
    const unproved = exampleLauncher('fresh', { name: 'unproved', uid: 'unproved', owner: { kind: 'StatefulSet', name: 's', uid: 's' } })
    const pods = [...input.snapshot.pods, examplePod('web'), { ...unproved, volumes: [] }]
    const plan = planFailover({ ...input, snapshot: { ...input.snapshot, pods }, proofs: { ...input.proofs, node: () => never } })
    expect(deleted(plan)).toContain('launcher-fresh')
    expect(outOfService(plan)).toEqual(['b2'])
  })

  test('is shown as put out of service by a dry run, which makes nothing immune', () => {
    const input = withBlocked(evictedLate)
    const plan = planFailover({ ...input, order: { ...input.order, dryRun: true } })
    expect(outOfService(plan)).toEqual(['b1', 'b2'])
    expect(deleted(plan)).toEqual(['launcher-beside', 'launcher-fresh'])
  })
})

describe('a node with an opted-out pod', () => {
  const plan = (volumes: PodView['volumes'], tolerations: PodView['tolerations']): Plan =>
    planFailover(
      exampleInput({
        snapshot: {
          pods: [examplePod('mine', { volumes, tolerations, annotations: { 'roomfence.io/opt-out': 'true' } })],
          volumes: exampleVolumes('mine'),
        },
      }),
    )

  test('with storage waits for its immunity; without it a second one harms nobody', () => {
    const disk = [{ kind: 'claim', claim: 'mine', readOnly: false }] as const
    expect(outOfService(plan(disk, evictedLate))).toEqual(['b2'])
    expect(waitsFor(plan(disk, evictedLate))).toMatch(/^apps\/mine is to be left alone and not immune/)
    expect(outOfService(plan(disk, immune))).toEqual(['b1', 'b2'])
    expect(outOfService(plan([], evictedLate))).toEqual(['b1', 'b2'])
  })
})

describe('a VM with pods on two nodes', () => {
  const target = (vm: string): PodView => exampleLauncher(vm, { name: 'target', uid: 'target', nodeName: 'b2' })

  test('keeps both in service while one of its pods has no proof: the other is proved, and yet must not go', () => {
    const input = (more: Partial<PodView>): PlanInput =>
      exampleInput({
        vms: ['one'],
        snapshot: { pods: [exampleLauncher('one', { tolerations: evictedLate, ...more }), target('one')] },
        proofs: {
          node: () => ({ isProved: false, reason: 'no watchdog' }),
          workload: (node) => (node === 'b2' ? { isProved: false, reason: 'not cut' } : { isProved: true, proof: { kind: 'storage' } }),
        },
      })
    expect(outOfService(planFailover(input({})))).toEqual([])
    expect(outOfService(planFailover(input({ tolerations: immune, isTerminating: true })))).toEqual([])
    expect(waitsFor(planFailover(input({ isTerminating: true })))).toMatch(
      /is waiting and terminating already: apps\/target of the same VM/,
    )
    expect(outOfService(planFailover(input({ tolerations: immune })))).toEqual(['b1'])
  })
})
