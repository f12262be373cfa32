/** The stand-ins beside a recording of the real KubeVirt 1.9 controllers: room dead, out-of-service:NoSchedule, launcher pods force-deleted. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { findRecordings } from '../../../test/support/recordings.ts'
import type { KubeObject } from '../apiserver/store.ts'
import { createVm, demoNamespace, requestStart } from './fixtures.ts'
import { conditionOf, type Pod, type VirtualMachine, type VirtualMachineInstance, readAll } from './objects.ts'
import { createTestbed, eventually, type Testbed } from '../../../test/support/cluster-testbed.ts'

/** One life of an object: its notable states, in order, each once. */
interface Life {
  readonly vmi: string[][]
  readonly pods: string[][]
  readonly vm: Readonly<Record<string, string[]>>
}
type Change = { type: string; kind: string; object: KubeObject }

const pushNew = (list: string[], state: string | undefined): void => {
  if (state !== undefined && list.at(-1) !== state) list.push(state)
}

/**
 * What was seen, per object and per field. Each field's own order is fixed in the real controllers, while the two of them race for the
 * order between an instance's finalizers and its machine's status: the two recorded runs of this scenario differ in just that.
 */
function digest(changes: readonly Change[]): Life {
  const instances = new Map<string, string[]>()
  const pods = new Map<string, string[]>()
  const vm: Record<string, string[]> = { printableStatus: [], requests: [], created: [], ready: [], reason: [] }
  for (const { type, kind, object } of changes) {
    const { uid, deletionTimestamp, deletionGracePeriodSeconds } = object.metadata
    if (kind === 'VirtualMachineInstance') {
      const seen = instances.get(uid) ?? []
      instances.set(uid, seen)
      const { status = {} } = object as VirtualMachineInstance
      const ready = conditionOf({ status }, 'Ready')
      const isLeaving = deletionTimestamp !== undefined ? ' deleting' : ''
      if (type === 'DELETED') pushNew(seen, `gone ${status.phase ?? ''}`)
      // Where status is apart from the object, an instance is there for a moment without one.
      else if (status.phase !== undefined) pushNew(seen, `${status.phase} ${ready?.status ?? '-'}/${ready?.reason ?? '-'}${isLeaving}`)
    } else if (kind === 'Pod') {
      const seen = pods.get(uid) ?? []
      pods.set(uid, seen)
      const { spec, status } = object as Pod
      if (type === 'DELETED') pushNew(seen, `gone ${status?.phase ?? ''}`)
      else {
        const room = spec.nodeName === undefined ? 'unbound' : spec.nodeName.replace(/^(room-)?([ab]).*/, 'room-$2')
        pushNew(seen, `${status?.phase ?? ''} ${room}${deletionTimestamp === undefined ? '' : ` grace ${deletionGracePeriodSeconds}`}`)
      }
    } else if (kind === 'VirtualMachine') {
      const { status = {} } = object as VirtualMachine
      pushNew(vm['printableStatus'] ?? [], status.printableStatus)
      pushNew(vm['requests'] ?? [], (status.stateChangeRequests ?? []).map(({ action }) => action).join())
      pushNew(vm['created'] ?? [], String(status.created ?? false))
      pushNew(vm['ready'] ?? [], String(status.ready ?? false))
      pushNew(vm['reason'] ?? [], conditionOf({ status }, 'Ready')?.reason ?? '-')
    }
  }
  return { vmi: [...instances.values()], pods: [...pods.values()], vm }
}

const recordings = findRecordings('kubevirt/fixtures')

const strategies = { always: 'Always', rof: 'RerunOnFailure', manual: 'Manual', once: 'Once', halted: 'Halted' } as const

/** The recording's taint came 10 s after the power loss; before it, all the machines ran in room-b. */
function recorded(name: string): Life {
  const lines = readFileSync(join(recordings ?? '', `b_nosched.${name}.jsonl`), 'utf8')
    .trim()
    .split('\n')
  return digest(lines.map((line) => JSON.parse(line) as Change))
}

async function replayed(bed: Testbed): Promise<Record<string, Life>> {
  const changes = new Map<string, Change[]>()
  bed.store.onChange(({ type, object }) => {
    const name = object.metadata.labels?.['vm.kubevirt.io/name'] ?? object.metadata.name
    if (object.metadata.namespace !== demoNamespace) return
    changes.set(name, [...(changes.get(name) ?? []), { type, kind: object.kind, object }])
  })
  for (const [name, runStrategy] of Object.entries(strategies)) {
    createVm(bed.store, { name, runStrategy, replicaNodes: ['a1', 'b1'], preferredRoom: 'room-b' })
  }
  requestStart(bed.store, 'manual')
  const running = (names: readonly string[], room: string) => () => {
    const vms = readAll(bed.store, 'virtualmachines', demoNamespace).filter(({ metadata }) => names.includes(metadata.name))
    const vmis = readAll(bed.store, 'virtualmachineinstances', demoNamespace)
    const isThere = ({ metadata }: VirtualMachine) =>
      vmis.some((vmi) => vmi.metadata.name === metadata.name && bed.hosts.get(vmi.status?.nodeName ?? '')?.room === room)
    return vms.length === names.length && vms.every((vm) => vm.status?.ready === true && isThere(vm))
  }
  await eventually('all run in room-b', running(['always', 'rof', 'manual', 'once'], 'room-b'))
  bed.powerOff('room-b')
  const launchers = [...bed.podsOf('b1'), ...bed.podsOf('b2')]
  for (const { name } of bed.room('room-b')) bed.taint(name, 'NoSchedule')
  for (const pod of launchers) bed.forceDelete(pod)
  await eventually('always and rof run in room-a', running(['always', 'rof'], 'room-a'))
  await eventually('manual and once have let go', () =>
    ['manual', 'once'].every((name) => bed.store.get('virtualmachineinstances', demoNamespace, name)?.metadata.finalizers === undefined),
  )
  return Object.fromEntries([...changes].map(([name, seen]) => [name, digest(seen)]))
}

describe.skipIf(recordings === undefined)('a dead room with out-of-service:NoSchedule and force-deleted launchers', () => {
  let bed: Testbed | undefined
  afterEach(() => bed?.cluster.stop())

  test('takes every run strategy through the states that the real controllers took it through', async () => {
    bed = createTestbed()
    const lives = await replayed(bed)
    for (const name of Object.keys(strategies)) {
      const { vmi, pods, vm } = recorded(name)
      const life = lives[name]
      expect(life?.vmi, `${name}: instances`).toEqual(vmi)
      expect(life?.pods, `${name}: pods`).toEqual(pods)
      expect(life?.vm['printableStatus'], `${name}: printableStatus`).toEqual(vm['printableStatus'])
      expect(life?.vm['requests'], `${name}: stateChangeRequests`).toEqual(vm['requests'])
      expect(life?.vm['ready'], `${name}: ready`).toEqual(vm['ready'])
      expect(life?.vm['created'], `${name}: created`).toEqual(vm['created'])
    }
  })
})
