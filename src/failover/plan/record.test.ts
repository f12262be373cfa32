/** What is kept of a fence when several hands write its record, or when the API server was set back in time. */
import { describe, expect, test } from 'vitest'
import { exampleInput, exampleLauncher, exampleRecord, exampleVm, exampleVmi } from '../../../test/support/failover-examples.ts'
import type { PodView, VirtualMachineInstanceView } from '../../kubernetes/resources.ts'
import { emptyFenceStatus, type FenceStatus, type RecordedUnfence } from '../fence/fence.ts'
import { mergeStatus } from '../fence/merge.ts'
import { planFailover } from './plan.ts'

const unfence = (node: string): RecordedUnfence => ({ node, by: 'ada', at: '', epoch: 8, overridden: [] })
const status = (more: Partial<FenceStatus>): FenceStatus => ({ ...emptyFenceStatus, ...more })

describe('two records of one fence, made one', () => {
  test('keep what has settled, a start that either asked for, the proof, and every lease that was released', () => {
    const lease = { namespace: 'kube-system', name: 'kcm', holder: 'b1_5f', node: 'b1', released: false }
    const merged = mergeStatus(
      status({ workloads: [exampleRecord('one', { proof: '' }), exampleRecord('two', { startAsked: true })], leases: [lease] }),
      status({
        workloads: [exampleRecord('one', { state: 'running', newNode: 'a1' }), exampleRecord('two'), exampleRecord('three')],
        leases: [{ ...lease, released: true }],
      }),
    )
    expect(merged.workloads).toMatchObject([
      { name: 'one', state: 'running', newNode: 'a1', proof: 'storage' },
      { name: 'two', startAsked: true },
      { name: 'three' },
    ])
    expect(merged.leases).toMatchObject([{ released: true }])
  })

  test('keep who stands in for an instance of a set, or another would be taken for its replacement', () => {
    const lost = exampleRecord('one', { kind: 'VirtualMachineInstance', set: 'set' })
    const found = { ...lost, state: 'running', newNode: 'a1', replacedBy: 'two' } as const
    expect(mergeStatus(status({ workloads: [lost] }), status({ workloads: [found] })).workloads).toEqual([found])
  })

  test('keep every node that was un-fenced: a record that the API server lost must not fence it again', () => {
    expect(mergeStatus(emptyFenceStatus, status({ unfenced: [unfence('b1')] })).unfenced).toEqual([unfence('b1')])
    expect(mergeStatus(status({ unfenced: [unfence('b1')] }), status({ unfenced: [unfence('b1'), unfence('b2')] })).unfenced).toEqual([
      unfence('b1'),
      unfence('b2'),
    ])
  })
})

describe('a Manual VM that its own node killed before anybody wrote it down', () => {
  const failed = (pod: Partial<PodView>, vmi: Partial<VirtualMachineInstanceView> = {}) =>
    planFailover(
      exampleInput({
        vms: ['one'],
        snapshot: {
          pods: [exampleLauncher('one', { phase: 'Failed', ...pod })],
          vms: new Map([['apps/one', exampleVm('one', { runStrategy: 'Manual' })]]),
          vmis: new Map([['apps/one', exampleVmi('one', { phase: 'Failed', ...vmi })]]),
        },
      }),
    ).status.workloads

  test('was running: SIGKILL came from outside', () => {
    expect(failed({ wasKilled: true })).toMatchObject([{ name: 'one', phaseBefore: 'Running' }])
  })

  test('was not, when it ended by itself or was being stopped', () => {
    expect(failed({})).toMatchObject([{ phaseBefore: 'Failed' }])
    expect(failed({ wasKilled: true }, { isTerminating: true })).toMatchObject([{ phaseBefore: 'Failed' }])
    expect(failed({ wasKilled: true, isTerminating: true })).toMatchObject([{ phaseBefore: 'Failed' }])
    expect(failed({ wasKilled: true }, { phase: 'Succeeded' })).toMatchObject([{ phaseBefore: 'Succeeded' }])
  })
})

describe('a workload that had settled', () => {
  test('is taken up again when its pods are back on the fenced node, as after a restored backup', () => {
    const before = exampleRecord('one', { state: 'running', newNode: 'a1', startAsked: true })
    const { snapshot, ...input } = exampleInput({ vms: ['one'] })
    const recorded = status({ workloads: [before] })
    const again = planFailover({ ...input, snapshot: { ...snapshot, recorded } })
    expect(again.status.workloads).toMatchObject([{ name: 'one', state: 'ordered', newNode: '', startAsked: false }])
    expect(again.status.phase).toBe('Acting')
  })

  test('is replaced by nobody any more when it is back', () => {
    const before = exampleRecord('one', { kind: 'VirtualMachineInstance', set: 'set', state: 'running', newNode: 'a1', replacedBy: 'two' })
    const { snapshot, ...input } = exampleInput({ vms: ['one'] })
    const [again] = planFailover({ ...input, snapshot: { ...snapshot, recorded: status({ workloads: [before] }) } }).status.workloads
    expect(again).toMatchObject({ state: 'ordered', newNode: '' })
    expect(again?.replacedBy).toBeUndefined()
  })

  test('stays settled while no pod of it is there', () => {
    const before = exampleRecord('one', { state: 'running', newNode: 'a1' })
    const { snapshot, ...input } = exampleInput({ vms: ['one'] })
    const plan = planFailover({ ...input, snapshot: { ...snapshot, pods: [], recorded: status({ workloads: [before] }) } })
    expect(plan.status.workloads).toEqual([before])
  })
})
