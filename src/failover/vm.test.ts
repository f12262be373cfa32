import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { VirtualMachineInstanceView, VirtualMachineView } from '../kubernetes/resources.ts'
import { exampleRecord, exampleVm, exampleVmi } from './examples.ts'
import type { RecordedWorkload } from './fence-object.ts'
import { defaultFailoverConfig } from './order.ts'
import { followVm, type VmFollowUp } from './vm.ts'

const failed = exampleVmi('one', { phase: 'Failed' })
function follow(
  runStrategy: string,
  vmi: VirtualMachineInstanceView | undefined,
  more: { vm?: Partial<VirtualMachineView>; record?: Partial<RecordedWorkload>; clearedForMs?: number; onceVms?: 'leave' | 'restart' } = {},
): VmFollowUp {
  return followVm(
    {
      record: exampleRecord('one', { runStrategy, ...more.record }),
      vm: exampleVm('one', { runStrategy, ...more.vm }),
      vmi,
      fencedNodes: new Set(['b1', 'b2']),
      clearedForMs: more.clearedForMs ?? 0,
    },
    { ...defaultFailoverConfig, onceVms: more.onceVms ?? 'leave' },
  )
}

describe('a VM whose pods were cleared', () => {
  test('needs no call when it is Always or RerunOnFailure', () => {
    for (const strategy of ['Always', 'RerunOnFailure'])
      for (const vmi of [failed, undefined]) expect(follow(strategy, vmi)).toMatchObject({ state: 'ordered' })
    expect(follow('Always', failed).action).toBeUndefined()
    expect(follow('RerunOnFailure', undefined).action).toBeUndefined()
  })

  test('is started once when it is Manual and was running, also without an instance', () => {
    for (const vmi of [failed, undefined]) expect(follow('Manual', vmi).action).toEqual({ kind: 'start' })
    expect(follow('Manual', failed, { record: { startAsked: true } }).action).toBeUndefined()
    expect(follow('Manual', failed, { record: { phaseBefore: 'Succeeded' } })).toMatchObject({ state: 'stopped' })
  })

  test('is left alone by policy when it is Once, or its failed instance is deleted by uid', () => {
    expect(follow('Once', failed)).toMatchObject({ state: 'stopped' })
    expect(follow('Once', failed, { onceVms: 'restart' }).action).toEqual({ kind: 'delete-vmi', uid: 'vmi-one' })
  })

  test('is never started when it is Halted, WaitAsReceiver, being deleted or gone', () => {
    for (const strategy of ['Halted', 'WaitAsReceiver']) expect(follow(strategy, failed)).toMatchObject({ state: 'stopped' })
    expect(follow('Manual', failed, { vm: { isTerminating: true } })).toMatchObject({ state: 'stopped' })
  })

  test('runs only when its instance runs on a survivor: not by its old instance on the dead node, not by printableStatus', () => {
    expect(follow('Always', exampleVmi('one'))).toMatchObject({ state: 'ordered' })
    expect(follow('Always', exampleVmi('one', { uid: 'new', nodeName: 'a2' }))).toMatchObject({ state: 'running', newNode: 'a2' })
  })

  test('is touched when virt-controller has lost sight of its old instance', () => {
    expect(follow('Always', exampleVmi('one'), { clearedForMs: 1_000 }).action).toBeUndefined()
    expect(follow('Always', exampleVmi('one'), { clearedForMs: 6_000 }).action).toEqual({ kind: 'touch-vmi' })
  })

  test('of RerunOnFailure whose queued start was lost gets one after a while', () => {
    expect(follow('RerunOnFailure', undefined, { clearedForMs: 20_000 }).action).toEqual({ kind: 'start' })
    expect(follow('RerunOnFailure', undefined, { clearedForMs: 20_000, vm: { stateChanges: ['Start'] } }).action).toBeUndefined()
    expect(follow('RerunOnFailure', exampleVmi('one', { phase: 'Succeeded' }), { clearedForMs: 20_000 })).toMatchObject({
      state: 'stopped',
    })
  })

  test('need not wait out the back-off of a start that the fence itself cut short', () => {
    const startFailure = { count: 1, vmiUid: 'vmi-one', retryAfter: 'later' }
    expect(follow('Always', undefined, { vm: { startFailure } }).action).toEqual({ kind: 'skip-backoff' })
    expect(follow('Always', undefined, { vm: { startFailure: { ...startFailure, count: 3 } } }).action).toBeUndefined()
    expect(follow('Always', undefined, { vm: { startFailure: { ...startFailure, vmiUid: 'another' } } }).action).toBeUndefined()
  })

  test('is told of as unplaced while no node takes it, and as failed past its deadline', () => {
    const pending = exampleVmi('one', { uid: 'new', phase: 'Scheduling', nodeName: '', unschedulable: '0/3 nodes: memory' })
    expect(follow('Always', pending)).toMatchObject({ state: 'ordered', unplaced: true })
    expect(follow('Always', pending, { clearedForMs: 700_000 })).toMatchObject({
      state: 'failed',
      reason: expect.stringContaining('0/3 nodes: memory') as string,
    })
  })

  test('a bare instance is told of as failed: nothing restarts it', () => {
    expect(follow('', failed, { record: { kind: 'VirtualMachineInstance' } })).toMatchObject({ state: 'failed' })
  })

  test('no follow-up ever stops a VM or deletes an instance but the failed one of a Once VM', () => {
    const strategy = fc.constantFrom('Always', 'RerunOnFailure', 'Manual', 'Once', 'Halted', 'WaitAsReceiver')
    const phase = fc.constantFrom('', 'Pending', 'Scheduling', 'Scheduled', 'Running', 'Succeeded', 'Failed')
    const instance = fc.option(fc.record({ phase, uid: fc.constantFrom('vmi-one', 'new'), nodeName: fc.constantFrom('', 'b1', 'a1') }), {
      nil: undefined,
    })
    fc.assert(
      fc.property(
        strategy,
        instance,
        fc.integer({ min: 0, max: 1_000_000 }),
        fc.constantFrom('leave' as const, 'restart' as const),
        (runStrategy, shape, clearedForMs, onceVms) => {
          const { action } = follow(runStrategy, shape === undefined ? undefined : exampleVmi('one', shape), { clearedForMs, onceVms })
          if (action?.kind === 'delete-vmi')
            expect([runStrategy, shape?.phase, action.uid, onceVms]).toEqual(['Once', 'Failed', 'vmi-one', 'restart'])
          if (action?.kind === 'start') expect(['Manual', 'RerunOnFailure']).toContain(runStrategy)
        },
      ),
    )
  })
})
