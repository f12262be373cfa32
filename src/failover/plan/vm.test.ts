import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { defaultFailoverConfig, exampleRecord, exampleVm, exampleVmi } from '../../../test/support/failover-examples.ts'
import type { VirtualMachineInstanceView, VirtualMachineView } from '../../kubernetes/resources.ts'
import type { RecordedWorkload } from '../fence/fence.ts'
import { followVm, touchText, type VmFollowUp } from './vm.ts'

const failed = exampleVmi('one', { phase: 'Failed' })
function follow(
  runStrategy: string,
  vmi: VirtualMachineInstanceView | undefined,
  more: {
    vm?: Partial<VirtualMachineView>
    record?: Partial<RecordedWorkload>
    clearedForMs?: number
    onceVms?: 'leave' | 'restart'
    replacement?: VirtualMachineInstanceView
  } = {},
): VmFollowUp {
  return followVm(
    {
      record: exampleRecord('one', { runStrategy, ...more.record }),
      vm: exampleVm('one', { runStrategy, ...more.vm }),
      vmi,
      replacement: more.replacement,
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
    expect(follow('Always', exampleVmi('one'), { clearedForMs: 6_000 }).action).toEqual({ kind: 'touch-vmi', count: 0 })
  })

  test('is touched ever more rarely: a virt-controller that is merely busy has to serve each touch, too', () => {
    const dueMs = [5_000, 10_000, 20_000, 40_000]
    for (const [count, ms] of dueMs.entries()) {
      const annotations = count === 0 ? {} : { 'roomfence.io/touched': touchText('2026-01-01T00:00:00Z', count - 1) }
      const vmi = exampleVmi('one', { annotations })
      expect(follow('Always', vmi, { clearedForMs: ms - 1 }).action).toBeUndefined()
      expect(follow('Always', vmi, { clearedForMs: ms }).action).toEqual({ kind: 'touch-vmi', count })
    }
  })

  test('is waited for past its deadline, and told of, while virt-controller is away: only afterwards can it be started', () => {
    for (const more of [{}, { record: { kind: 'VirtualMachineInstance' } as const }]) {
      expect(follow('Manual', exampleVmi('one'), { ...more, clearedForMs: 599_000 }).unplaced).toBeUndefined()
      expect(follow('Manual', exampleVmi('one'), { ...more, clearedForMs: 3_600_000 })).toMatchObject({ state: 'ordered', unplaced: true })
    }
    const touched = exampleVmi('one', { annotations: { 'roomfence.io/touched': touchText('2026-01-01T00:00:00Z', 19) } })
    expect(follow('Manual', touched, { clearedForMs: 3_600_000 })).toMatchObject({ state: 'ordered', unplaced: true })
  })

  test('that someone was stopping when its node died stays stopped, unless a start is queued behind the stop', () => {
    const record = { phaseBefore: 'Terminating' }
    const later = { record, clearedForMs: 20_000 }
    for (const strategy of ['Manual', 'RerunOnFailure']) {
      expect(follow(strategy, exampleVmi('one', { isTerminating: true }), later)).toMatchObject({ state: 'ordered' })
      expect(follow(strategy, failed, { record })).toMatchObject({ state: 'stopped', reason: expect.stringContaining('stopped') as string })
      // The queued start leaves the VM a moment before its instance is seen.
      expect(follow(strategy, undefined, { record })).toMatchObject({ state: 'ordered' })
      expect(follow(strategy, undefined, later)).toMatchObject({ state: 'stopped' })
      expect(follow(strategy, undefined, { ...later, vm: { stateChanges: ['Start'] } })).toMatchObject({ state: 'ordered' })
      for (const vmi of [failed, undefined]) expect(follow(strategy, vmi, later).action).toBeUndefined()
    }
    expect(follow('Always', undefined, later)).toMatchObject({ state: 'ordered' })
  })

  test('is waited for while its failed instance is being deleted, whatever the strategy', () => {
    const going = exampleVmi('one', { phase: 'Failed', isTerminating: true })
    for (const strategy of ['Always', 'RerunOnFailure', 'Manual', 'Once'])
      expect(follow(strategy, going)).toMatchObject({ state: 'ordered', reason: 'its old instance is being deleted' })
  })

  test('is started when it is Manual and its instance was so young that it had no phase', () => {
    expect(follow('Manual', failed, { record: { phaseBefore: '' } }).action).toEqual({ kind: 'start' })
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
    expect(follow('Always', undefined, { vm: { startFailure: { ...startFailure, vmiUid: 'another' } } })).toMatchObject({
      state: 'ordered',
      reason: expect.stringContaining('back-off until later, after 1 starts') as string,
    })
    expect(follow('Once', undefined, { vm: { startFailure }, onceVms: 'restart' }).action).toEqual({ kind: 'skip-backoff' })
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

  test('an instance of a set runs when another that its set made since runs on a survivor', () => {
    const record = { kind: 'VirtualMachineInstance', set: 'set-uid' } as const
    expect(follow('', exampleVmi('one'), { record })).toMatchObject({ state: 'ordered' })
    expect(follow('', failed, { record })).toMatchObject({ state: 'ordered', reason: 'its set has made no other instance yet' })
    const two = exampleVmi('two', { uid: 'two', nodeName: '', phase: 'Scheduling' })
    expect(follow('', undefined, { record, replacement: two })).toMatchObject({
      state: 'ordered',
      reason: expect.stringContaining('two') as string,
    })
    expect(follow('', undefined, { record, replacement: { ...two, unschedulable: '0/3' } })).toMatchObject({
      state: 'ordered',
      unplaced: true,
    })
    expect(follow('', failed, { record, replacement: { ...two, phase: 'Running', nodeName: 'a1' } })).toMatchObject({
      state: 'running',
      newNode: 'a1',
      replacedBy: 'two',
    })
    expect(follow('', undefined, { record, clearedForMs: 700_000 })).toMatchObject({ state: 'failed' })
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
