/** A fence on a node that says that it was un-fenced later: by another agent, or in an earlier installation whose annotations are still there. */
import { describe, expect, test } from 'vitest'
import { exampleInput, exampleLauncher, examplePod } from '../../../test/support/failover-examples.ts'
import type { PlanInput } from './plan-input.ts'
import { type Plan, planFailover } from './plan.ts'

const steps = (plan: Plan): readonly string[] => plan.stages.flatMap((stage) => stage.steps.map(({ key }) => key))
const recordOf = (plan: Plan, node: string) => plan.status.nodes.find(({ name }) => name === node)

/** With `roomfence.io/unfenced-epoch` on b1; the fence is of epoch 7. */
function inputOf(unfencedIn: string, snapshot: Partial<PlanInput['snapshot']>, vms: readonly string[] = []): PlanInput {
  const input = exampleInput({ vms, snapshot })
  const nodes = new Map(
    [...input.snapshot.nodes].map(([name, node]) => [
      name,
      name === 'b1' ? { ...node, annotations: { 'roomfence.io/unfenced-epoch': unfencedIn } } : node,
    ]),
  )
  return { ...input, snapshot: { ...input.snapshot, nodes } }
}

describe('a node that says that it was un-fenced after the fence', () => {
  const onBoth = [examplePod('web-1'), examplePod('web-2', { nodeName: 'b2' }), exampleLauncher('one')]
  const leases = ['b1', 'b2'].map((node) => ({
    uid: node,
    name: node,
    namespace: 'kube-system',
    resourceVersion: '1',
    holder: `${node}_1`,
    renewTime: '',
  }))

  test('has nothing done to it, and the other nodes do not wait for it', () => {
    const plan = planFailover(inputOf('57', { pods: onBoth, leases }, ['one']))
    expect(steps(plan)).toEqual([
      'taint b2 fenced',
      'taint b2 node.kubernetes.io/out-of-service',
      'lease kube-system/b2 b2_1',
      'delete uid-web-2',
    ])
  })

  test('keeps the fence waiting, with the epoch and what to do about an annotation that was left behind', () => {
    const plan = planFailover({ ...inputOf('57', {}), nowMs: 60_000, sinceMs: new Map([['settled', 0]]) })
    expect(plan.status.phase).not.toBe('Finished')
    expect(recordOf(plan, 'b1')).toMatchObject({ fenced: false, outOfService: false })
    expect(recordOf(plan, 'b1')?.waitingFor).toMatch(/un-fenced in epoch 57, .*kubectl annotate node b1 roomfence.io\/unfenced-epoch-$/)
    const workloads = planFailover(inputOf('57', { pods: onBoth }, ['one'])).status.workloads
    expect(workloads).toMatchObject([{ name: 'one', state: 'waiting', reason: expect.stringContaining('epoch 57') as string }])
  })

  test('keeps the other pods of a VM that has one there: nobody knows whether that one runs', () => {
    const target = exampleLauncher('one', { name: 'target', uid: 'target' })
    const launcher = exampleLauncher('one', { nodeName: 'b2' })
    const plan = planFailover(inputOf('57', { pods: [launcher, target] }, ['one']))
    expect(steps(plan)).not.toContain('delete uid-launcher-one')
  })

  test('is fenced like any other when that was before the fence', () => {
    expect(steps(planFailover(inputOf('7', { pods: onBoth }, ['one'])))).toContain('taint b1 fenced')
    expect(steps(planFailover(inputOf('6', { pods: onBoth }, ['one'])))).toContain('delete uid-web-1')
  })

  test('is none of the fence once its un-fence stands in the Fence', () => {
    const input = inputOf('57', { pods: onBoth }, ['one'])
    const unfenced = [{ node: 'b1', by: 'ada', at: '', epoch: 57, overridden: [] }]
    const plan = planFailover({ ...input, snapshot: { ...input.snapshot, recorded: { ...input.snapshot.recorded, unfenced } } })
    expect(recordOf(plan, 'b1')).toBeUndefined()
    expect(plan.status.workloads).toEqual([])
  })
})
