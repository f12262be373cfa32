/** The failover on the embedded API server with stand-ins for kubelet, scheduler, attach-detach and virt-controller: each line of docs/protocol.md, "Carrying it out". */
import { afterEach, describe, expect, test } from 'vitest'
import { createVm, createVolume, demoNamespace, requestStart } from '../../src/demo/cluster/fixtures.ts'
import type { VirtualMachineInstance } from '../../src/demo/cluster/objects.ts'
import type { Taint } from '../../src/kubernetes/resources.ts'
import { allProved, createFailoverBed, eventually, type FailoverBed, roomB, testConfig } from './bed.ts'

let bed: FailoverBed
afterEach(async () => {
  await bed.close()
})

const vmi = (name: string): VirtualMachineInstance | undefined =>
  bed.store.get('virtualmachineinstances', demoNamespace, name) as VirtualMachineInstance | undefined
const runsIn = (name: string, room: string): boolean =>
  vmi(name)?.status?.phase === 'Running' && bed.hosts.get(vmi(name)?.status?.nodeName ?? '')?.room === room
const taints = (node: string): readonly Taint[] =>
  (bed.store.get('nodes', undefined, node)?.['spec'] as { taints?: Taint[] } | undefined)?.taints ?? []
const fence = () =>
  bed.store.get('fences', undefined, roomB.id) as
    | { status?: { phase?: string; workloads?: { name: string; state: string; reason: string; proof: string }[]; nodes?: object[] } }
    | undefined
const workload = (name: string) => fence()?.status?.workloads?.find((recorded) => recorded.name === name)

async function runInRoomB(...names: readonly string[]): Promise<void> {
  await eventually(`${names.join(', ')} run in room-b`, () => names.every((name) => runsIn(name, 'room-b')))
}

function vm(name: string, runStrategy: 'Always' | 'RerunOnFailure' | 'Manual' | 'Once' | 'Halted' = 'Always', more: object = {}): void {
  createVm(bed.store, { name, runStrategy, replicaNodes: ['a1', 'b1'], preferredRoom: 'room-b', ...more })
  if (runStrategy === 'Manual') requestStart(bed.store, name)
}

describe('the failover of a dead room', () => {
  test('brings back VMs of Always, RerunOnFailure and Manual, leaves Once by policy, and finishes', async () => {
    bed = await createFailoverBed()
    vm('always')
    vm('rof', 'RerunOnFailure')
    vm('manual', 'Manual')
    vm('once', 'Once')
    vm('halted', 'Halted')
    await runInRoomB('always', 'rof', 'manual', 'once')
    bed.powerOff('room-b')
    const result = await bed.start().done
    expect(result.outcome).toBe('finished')
    expect([...result.running].sort()).toEqual(['vms/always', 'vms/manual', 'vms/rof'])
    expect(result.stopped).toEqual(['vms/once'])
    expect(['always', 'rof', 'manual'].every((name) => runsIn(name, 'room-a'))).toBe(true)
    for (const node of ['b1', 'b2']) {
      expect(taints(node)).toEqual(
        expect.arrayContaining([
          expect.objectContaining({ key: 'roomfence.io/fenced', value: '7', effect: 'NoSchedule' }),
          expect.objectContaining({ key: 'node.kubernetes.io/out-of-service', value: 'roomfence', effect: 'NoSchedule' }),
        ]),
      )
    }
    expect(fence()?.status?.phase).toBe('Finished')
    expect(
      bed.store.list('volumeattachments').filter((object) => (object['spec'] as { nodeName: string }).nodeName.startsWith('b')),
    ).toEqual([])
  })
})
