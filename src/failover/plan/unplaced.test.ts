import { describe, expect, test } from 'vitest'
import { exampleInput, exampleVm } from '../../../test/support/failover-examples.ts'
import { type UnboundPodView, unboundPodView } from '../../kubernetes/resources.ts'
import type { PlanInput } from './plan-input.ts'
import { planFailover } from './plan.ts'
import { unplacedShown } from './unplaced.ts'

const reason = '0/4 nodes are available: 2 Insufficient cpu, 2 node(s) had untolerated taint {roomfence.io/fenced: 7}.'
const unbound = (name: string, more: Partial<UnboundPodView> = {}): UnboundPodView => ({
  uid: `uid-${name}`,
  name,
  namespace: 'apps',
  resourceVersion: '1',
  owner: { kind: 'ReplicaSet', name: 'web', uid: 'web' },
  createdAt: '2026-01-01T00:00:00Z',
  isTerminating: false,
  isGated: false,
  unschedulable: reason,
  ...more,
})
const launcherOwner = (name: string) => ({ kind: 'VirtualMachineInstance', name, uid: `new-${name}` })
const inputOf = (...pods: readonly UnboundPodView[]): PlanInput =>
  exampleInput({ snapshot: { unbound: pods, nodes: new Map(), vms: new Map([['apps/one', exampleVm('one')]]) } })
/** Past the moment that a fence waits at its end. */
const settled = (input: PlanInput): PlanInput => ({ ...input, nowMs: 2_000, sinceMs: new Map([['settled', 0]]) })
const unplaced = (...pods: readonly UnboundPodView[]) => planFailover(inputOf(...pods)).status.unplaced

describe('unplaced after a fence', () => {
  test('are pods that no node takes, each with the scheduler’s own words; launchers by the name of their VM', () => {
    expect(unplaced(unbound('web-1'), unbound('virt-launcher-one-x', { owner: launcherOwner('one') }))).toEqual([
      {
        kind: 'VirtualMachine',
        namespace: 'apps',
        name: 'one',
        pod: 'virt-launcher-one-x',
        uid: 'uid-virt-launcher-one-x',
        owner: 'VirtualMachineInstance one',
        reason,
      },
      { kind: 'Pod', namespace: 'apps', name: 'web-1', pod: 'web-1', uid: 'uid-web-1', owner: 'ReplicaSet web', reason },
    ])
  })

  test.each([
    ['belong to a DaemonSet', { owner: { kind: 'DaemonSet', name: 'd', uid: 'd' } }],
    ['are being deleted', { isTerminating: true }],
    ['wait for a scheduling gate', { isGated: true }],
    ['the scheduler has not tried yet', { unschedulable: undefined }],
  ])('are not pods that %s', (_, more) => {
    expect(unplaced(unbound('x', more))).toEqual([])
  })

  test('keep the fence acting while they may still find a node, and stay in its status after', () => {
    const input = inputOf(unbound('web-1'))
    expect(planFailover(settled(input)).status).toMatchObject({ phase: 'Acting', counts: { unplaced: 1 } })
    const late = {
      ...input,
      nowMs: input.config.vmDeadlineMs,
      sinceMs: new Map([...planFailover(input).subjects, 'settled'].map((subject) => [subject, 0])),
    }
    expect(planFailover(late).status).toMatchObject({ phase: 'Finished', unplaced: [{ name: 'web-1' }] })
  })

  test('keep the fence acting while the scheduler has not said anything', () => {
    expect(planFailover(settled(inputOf(unbound('web-1', { unschedulable: undefined })))).status.phase).toBe('Acting')
  })

  test('are all counted, and shown as far as a person can read them', () => {
    const many = Array.from({ length: unplacedShown + 1 }, (_, index) => unbound(`web-${String(index)}`))
    const { status } = planFailover(inputOf(...many))
    expect([status.unplaced.length, status.counts.unplaced]).toEqual([unplacedShown, unplacedShown + 1])
  })

  test('are read from the condition that the scheduler writes', () => {
    const pod = (condition: object) => unboundPodView({ metadata: { name: 'x' }, status: { conditions: [condition] } }).unschedulable
    expect(pod({ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: reason })).toBe(reason)
    expect(pod({ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated', message: 'gated' })).toBeUndefined()
    expect(pod({ type: 'PodScheduled', status: 'True' })).toBeUndefined()
  })
})
