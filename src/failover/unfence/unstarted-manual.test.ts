/** Which Manual VMs an un-fence starts: those that ran, that the fence killed, and that nobody has brought back. */
import { describe, expect, test } from 'vitest'
import { exampleRecord, exampleVm, exampleVmi } from '../../../test/support/failover-examples.ts'
import { judgeUnstarted, unstartedManual } from './unstarted-manual.ts'

const manual = exampleRecord('one', { runStrategy: 'Manual', state: 'held' })
const nodes = new Set(['b1'])

describe('of the record of a fence', () => {
  test('an un-fence takes up the Manual VMs that it leaves open', () => {
    for (const state of ['held', 'waiting', 'ordered'] as const) {
      const open = { ...manual, state }
      expect(unstartedManual([open], nodes)).toEqual([open])
    }
  })

  test.each([
    ['of another run strategy, which KubeVirt brings back', { runStrategy: 'Always' }],
    ['that have settled', { state: 'running' }],
    ['that were left alone', { state: 'skipped' }],
    ['that did not run before', { phaseBefore: 'Failed' }],
    ['that a person was stopping', { phaseBefore: 'Terminating' }],
    ['that were never an instance', { phaseBefore: '' }],
    ['whose start was asked for', { startAsked: true }],
    ['of a node that stays fenced', { node: 'b2' }],
    ['that are no VM', { kind: 'VirtualMachineInstance' }],
  ] as const)('it leaves those %s', (_text, more) => {
    expect(unstartedManual([{ ...manual, ...more }], nodes)).toEqual([])
  })
})

describe('a Manual VM of a node that was un-fenced', () => {
  const vm = exampleVm('one', { runStrategy: 'Manual' })

  test('is started when its instance has failed or is gone', () => {
    expect(judgeUnstarted(manual, vm, exampleVmi('one', { phase: 'Failed' }))).toBe('start')
    expect(judgeUnstarted(manual, vm, undefined)).toBe('start')
  })

  test('is waited for while its kubelet has not told of the kill', () => {
    expect(judgeUnstarted(manual, vm, exampleVmi('one'))).toBe('later')
  })

  test('is left to whoever has done something with it since', () => {
    expect(judgeUnstarted(manual, vm, exampleVmi('one', { uid: 'another', phase: 'Failed' }))).toBe('leave')
    expect(judgeUnstarted(manual, vm, exampleVmi('one', { phase: 'Succeeded' }))).toBe('leave')
    expect(judgeUnstarted(manual, vm, exampleVmi('one', { phase: 'Failed', isTerminating: true }))).toBe('leave')
    expect(judgeUnstarted(manual, { ...vm, stateChanges: ['Start'] }, undefined)).toBe('leave')
    expect(judgeUnstarted(manual, { ...vm, runStrategy: 'Halted' }, undefined)).toBe('leave')
    expect(judgeUnstarted(manual, { ...vm, isTerminating: true }, undefined)).toBe('leave')
    expect(judgeUnstarted(manual, undefined, undefined)).toBe('leave')
  })
})
