/** The KubeVirt stand-ins' rules: as tables for the pure part, as scenes for what the real controllers were seen to do about hanging, backoff, migration, hotplug. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createVm, createVolume, demoNamespace, requestStart } from './fixtures.ts'
import type { Pod, RunStrategy, StateChangeRequest, VirtualMachine, VirtualMachineInstance, VmiPhase } from './objects.ts'
import { amend, read, readAll } from './objects.ts'
import { createTestbed, eventually, type Testbed } from '../../../test/support/cluster-testbed.ts'
import { bootAnnotation } from './virt-handler.ts'
import { type Action, backoffMs, openRequests, wantedAction } from './vm-controller.ts'
import { nextPhase } from './vmi-controller.ts'

const vmOf = (runStrategy: RunStrategy, stateChangeRequests: StateChangeRequest[] = [], seen = runStrategy): VirtualMachine =>
  ({ metadata: { name: 'vm' }, spec: { runStrategy }, status: { runStrategy: seen, stateChangeRequests } }) as unknown as VirtualMachine
const vmiOf = (phase: VmiPhase, isGoing = false): VirtualMachineInstance =>
  ({
    metadata: { name: 'vm', uid: 'old', ...(isGoing ? { deletionTimestamp: 'now' } : {}) },
    status: { phase },
  }) as unknown as VirtualMachineInstance

describe('a run strategy', () => {
  const start: Action = { start: true }
  const stop: Action = { stop: true }
  const again: Action = { stop: true, andStartAgain: true }

  test.each<[RunStrategy, Action | undefined, Action | undefined, Action | undefined]>([
    // strategy, VMI Failed, VMI Succeeded, VMI object deleted by someone
    ['Always', stop, stop, start],
    ['RerunOnFailure', again, stop, undefined],
    ['Manual', undefined, undefined, undefined],
    ['Once', undefined, undefined, start],
    ['Halted', stop, stop, undefined],
  ])('%s reacts to a failed, a succeeded and a missing instance as in the reference’s table', (strategy, failed, succeeded, missing) => {
    expect(wantedAction(vmOf(strategy), vmiOf('Failed'))).toEqual(failed)
    expect(wantedAction(vmOf(strategy), vmiOf('Succeeded'))).toEqual(succeeded)
    expect(wantedAction(vmOf(strategy), undefined)).toEqual(missing)
  })

  test('RerunOnFailure does not start again an instance that someone else is deleting', () => {
    expect(wantedAction(vmOf('RerunOnFailure'), vmiOf('Failed', true))).toBeUndefined()
  })

  test('RerunOnFailure starts when the machine came from another strategy', () => {
    expect(wantedAction(vmOf('RerunOnFailure', [], 'Halted'), undefined)).toEqual(start)
  })

  test('Manual carries out a queued stop and start of the instance that was meant, and of no other', () => {
    const requests: StateChangeRequest[] = [{ action: 'Stop', uid: 'old' }, { action: 'Start' }]
    expect(wantedAction(vmOf('Manual', requests), vmiOf('Failed'))).toEqual(stop)
    expect(openRequests(requests, undefined)).toEqual([{ action: 'Start' }])
    expect(wantedAction(vmOf('Manual', [{ action: 'Start' }]), undefined)).toEqual(start)
    expect(wantedAction(vmOf('Manual', [{ action: 'Stop', uid: 'older' }]), vmiOf('Running'))).toBeUndefined()
  })

  test('a queued start outlives the old instance while that is going, and is done by the new one', () => {
    expect(openRequests([{ action: 'Start' }], vmiOf('Failed', true))).toHaveLength(1)
    expect(openRequests([{ action: 'Start' }], vmiOf('Pending'))).toEqual([])
  })
})

describe('the start backoff', () => {
  test('grows with the square of the failures up to 300 s, and half as much again by chance', () => {
    expect([1, 2, 3, 10].map((count) => backoffMs(count, 0))).toEqual([10_000, 40_000, 90_000, 300_000])
    expect(backoffMs(1, 1)).toBe(15_000)
  })
})

describe('an instance', () => {
  const podIn = (phase: string, isGoing = false) =>
    ({ metadata: isGoing ? { deletionTimestamp: 'now' } : {}, spec: {}, status: { phase } }) as unknown as Pod

  test('stays Running while its pod’s object is there, Terminating or Failed, and fails as soon as that is gone', () => {
    expect(nextPhase(vmiOf('Running'), podIn('Running', true))).toBeUndefined()
    expect(nextPhase(vmiOf('Running'), podIn('Failed'))).toBeUndefined()
    expect(nextPhase(vmiOf('Running'), undefined)).toBe('Failed')
  })

  test('that is not yet scheduled fails when its pod is on its way out', () => {
    expect(nextPhase(vmiOf('Scheduling'), podIn('Pending', true))).toBe('Failed')
    expect(nextPhase(vmiOf('Scheduled'), podIn('Running', true))).toBeUndefined()
  })
})

describe('in a cluster', () => {
  let bed: Testbed
  beforeEach(() => {
    bed = createTestbed()
  })
  afterEach(() => bed.cluster.stop())

  const vm = (name: string) => read(bed.store, 'virtualmachines', demoNamespace, name)
  const vmi = (name: string) => read(bed.store, 'virtualmachineinstances', demoNamespace, name)
  const create = (name: string, runStrategy: RunStrategy, more: object = {}) =>
    createVm(bed.store, { name, runStrategy, replicaNodes: ['a1', 'b1'], preferredRoom: 'room-b', ...more })
  const runsOn = (name: string, node: string) => () => vmi(name)?.status?.nodeName === node && vm(name)?.status?.ready === true && vmi(name)
  const launchersOf = (name: string) =>
    readAll(bed.store, 'pods', demoNamespace).filter(({ metadata }) => metadata.labels?.['vm.kubevirt.io/name'] === name)
  const fence = (): void => {
    bed.powerOff('room-b')
    for (const { name } of bed.room('room-b')) bed.taint(name, 'NoSchedule')
  }
  const forceDeleteLaunchers = (name: string): void => {
    for (const pod of launchersOf(name)) if (pod.spec.nodeName?.startsWith('b') === true) bed.forceDelete(pod)
  }

  test('deleting the instance on a dead node hangs; once its pod is gone Once comes back and RerunOnFailure does not until it is started', async () => {
    create('once', 'Once')
    create('rof', 'RerunOnFailure')
    await eventually('both run', () => runsOn('once', 'b1')() && runsOn('rof', 'b1')())
    fence()
    for (const name of ['once', 'rof']) bed.store.remove('virtualmachineinstances', demoNamespace, name)
    await eventually('Stopping', () => ['once', 'rof'].every((name) => vm(name)?.status?.printableStatus === 'Stopping'))
    expect(launchersOf('rof').map(({ metadata }) => metadata.deletionGracePeriodSeconds)).toEqual([60])
    expect(vmi('rof')?.status?.phase).toBe('Running')
    for (const name of ['once', 'rof']) forceDeleteLaunchers(name)
    await eventually('once runs in room-a', runsOn('once', 'a1'))
    await eventually('rof has no instance', () => vmi('rof') === undefined && vm('rof')?.status?.printableStatus === 'Stopped')
    requestStart(bed.store, 'rof')
    await eventually('rof runs in room-a', runsOn('rof', 'a1'))
    expect(vm('rof')?.status?.stateChangeRequests).toBeUndefined()
  })

  test('a VM still booting when its room died waits in CrashLoopBackOff; removing startFailure starts it at once', async () => {
    bed.cluster.stop()
    // Slow enough that the backoff of 10 to 15 s cannot end during the test by itself.
    bed = createTestbed({ timeFactor: 0.05 })
    create('boot', 'Always', { instanceAnnotations: { [bootAnnotation]: 'never' } })
    await eventually('boot is Scheduled', () => vmi('boot')?.status?.phase === 'Scheduled')
    const before = vmi('boot')?.metadata.uid
    fence()
    forceDeleteLaunchers('boot')
    await eventually('CrashLoopBackOff', () => vm('boot')?.status?.printableStatus === 'CrashLoopBackOff' && vmi('boot') === undefined)
    expect(vm('boot')?.status?.startFailure).toMatchObject({ consecutiveFailCount: 1, lastFailedVMIUID: before })
    amend(bed.store, 'virtualmachines', { namespace: demoNamespace, name: 'boot' }, ({ status }) => delete status?.startFailure)
    const after = await eventually('a new instance', () => vmi('boot'))
    expect(after.metadata.uid).not.toBe(before)
  })

  test('a Manual VM gets no backoff, and stays Failed', async () => {
    create('manual', 'Manual', { instanceAnnotations: { [bootAnnotation]: 'never' } })
    requestStart(bed.store, 'manual')
    await eventually('Scheduled', () => vmi('manual')?.status?.phase === 'Scheduled')
    fence()
    forceDeleteLaunchers('manual')
    await eventually(
      'Failed and let go',
      () => vmi('manual')?.status?.phase === 'Failed' && vmi('manual')?.metadata.finalizers === undefined,
    )
    expect(vm('manual')?.status?.startFailure).toBeUndefined()
  })

  const migrate = async (name: string): Promise<void> => {
    const metadata = { generateName: `mig-${name}-`, namespace: demoNamespace }
    bed.store.create('virtualmachineinstancemigrations', { metadata, spec: { vmiName: name } })
    await eventually('the migration runs', () => readAll(bed.store, 'virtualmachineinstancemigrations')[0]?.status?.phase === 'Running')
    await eventually('the machine says so', () => vm(name)?.status?.printableStatus === 'Migrating')
  }
  const targetPod = () => readAll(bed.store, 'pods').find(({ metadata }) => metadata.labels?.['kubevirt.io/migrationJobUID'] !== undefined)

  test('a migration that loses its source takes the target with it, and the VM starts anew', async () => {
    create('moving', 'Always')
    const before = await eventually('it runs', runsOn('moving', 'b1'))
    await migrate('moving')
    const target = targetPod()
    expect(target?.spec.nodeName).toBe('a1')
    expect(bed.host('a1').started.find(({ uid }) => uid === target?.metadata.uid)?.vm).toBeUndefined()
    fence()
    forceDeleteLaunchers('moving')
    const after = await eventually('it runs in room-a', runsOn('moving', 'a1'))
    expect(after.metadata.uid).not.toBe(before.metadata.uid)
    expect(targetPod()).toBeUndefined()
    await eventually('the migration’s object is gone', () => readAll(bed.store, 'virtualmachineinstancemigrations').length === 0)
  })

  test('a migration that loses its target fails, and the VM goes on where it was', async () => {
    create('moving', 'Always', { preferredRoom: 'room-a' })
    const before = await eventually('it runs', runsOn('moving', 'a1'))
    await migrate('moving')
    fence()
    forceDeleteLaunchers('moving')
    await eventually('Failed', () => vmi('moving')?.status?.migrationState?.failureReason === 'Target pod is down')
    await eventually('Running', () => vm('moving')?.status?.printableStatus === 'Running')
    expect(vmi('moving')?.metadata.uid).toBe(before.metadata.uid)
    expect(vmi('moving')?.status?.phase).toBe('Running')
  })

  test('a hotplugged volume’s pod is made again when deleted alone, and goes with its launcher', async () => {
    createVolume(bed.store, { name: 'extra', replicaNodes: ['a1', 'b1'] })
    create('hot', 'Always')
    await eventually('it runs', runsOn('hot', 'b1'))
    const extra = { name: 'extra', persistentVolumeClaim: { claimName: 'extra', hotpluggable: true } }
    const target = { namespace: demoNamespace, name: 'hot' }
    amend(bed.store, 'virtualmachines', target, ({ spec }) => void spec.template.spec.volumes?.push(extra))
    amend(bed.store, 'virtualmachineinstances', target, ({ spec }) => void spec.volumes?.push(extra))
    const attachments = () => readAll(bed.store, 'pods').filter(({ metadata }) => metadata.name.startsWith('hp-volume-'))
    await eventually('plugged in', () => vmi('hot')?.status?.volumeStatus?.find(({ name }) => name === 'extra')?.phase === 'Ready')
    const [first] = attachments()
    expect(first?.spec.nodeName).toBe('b1')
    fence()
    if (first !== undefined) bed.forceDelete(first)
    await eventually('a second one', () => attachments().some(({ metadata }) => metadata.uid !== first?.metadata.uid))
    forceDeleteLaunchers('hot')
    await eventually('it runs in room-a', runsOn('hot', 'a1'))
    await eventually('with its volume', () => attachments().length === 1 && attachments()[0]?.spec.nodeName === 'a1')
  })

  test('a guest that is shut down gracefully succeeds: Always comes back, RerunOnFailure stays down', async () => {
    create('always', 'Always')
    create('rof', 'RerunOnFailure')
    const before = await eventually('both run', () => runsOn('rof', 'b1')() && runsOn('always', 'b1')())
    for (const name of ['always', 'rof'])
      for (const { metadata } of launchersOf(name)) bed.store.remove('pods', demoNamespace, metadata.name)
    await eventually('always runs again', () => runsOn('always', 'b1')() && vmi('always')?.metadata.uid !== before.metadata.uid)
    await eventually('rof is down', () => vmi('rof') === undefined && vm('rof')?.status?.printableStatus === 'Stopped')
  })
})
