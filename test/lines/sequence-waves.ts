/** VMs come back in waves with the readiness gate, and a Once VM by policy. */
import { expect } from 'vitest'
import { defaultFailoverConfig } from '../support/failover-examples.ts'
import type { FailoverResult } from '../../src/failover/run/progress.ts'
import type { Bed, PlayedFailover } from './bed.ts'
import { stage } from './lines.ts'
import { createVm } from './line-objects.ts'
import { deadRoom, livingRoom } from './world.ts'

const vms = ['first', 'second', 'third', 'fourth', 'fifth'] as const

async function play(bed: Bed): Promise<PlayedFailover & { readonly result: FailoverResult; readonly onceUid: string }> {
  for (const [index, name] of vms.entries())
    await createVm(bed.api, bed.namespace, {
      name,
      room: deadRoom,
      runStrategy: name === 'fifth' ? 'Once' : 'Always',
      annotations: { 'roomfence.io/priority': String(50 - index) },
    })
  for (const name of vms) await bed.vmiRuns(name, deadRoom)
  const onceUid = (await bed.vmiRuns('fifth', deadRoom)).metadata.uid
  bed.withoutEviction()
  await bed.powerOff()
  const played = await bed.failedOver({ config: { waveSize: 2, waveReadinessGate: true, onceVms: 'restart' } })
  return { ...played, onceUid }
}

export const orderWaves = stage({
  name: 'waves',
  play,
  lines: [
    {
      id: 'order-wave-size-and-readiness-gate',
      part: 'order/wave-size',
      says: 'with the readiness gate a wave of VMs is deleted only when every VM of the wave before runs again; the wave’s size can be set, and is 20 by default',
      check: ({ result, events }, { namespace }) => {
        expect(result.outcome).toBe('finished')
        const told = events.flatMap((event) =>
          event.kind === 'vm-ordered' || event.kind === 'vm-running'
            ? [`${event.kind.slice(3)} ${event.vm.slice(namespace.length + 1)}`]
            : [],
        )
        const waves = [vms.slice(0, 2), vms.slice(2, 4), vms.slice(4)]
        // within a wave the order is open
        const ofEach = waves.flatMap((wave) => [
          wave.map((name) => `ordered ${name}`).toSorted(),
          wave.map((name) => `running ${name}`).toSorted(),
        ])
        const seen: string[][] = []
        for (const wanted of ofEach) seen.push(told.slice(seen.flat().length, seen.flat().length + wanted.length).toSorted())
        expect(seen).toEqual(ofEach)
        expect([defaultFailoverConfig.waveSize, defaultFailoverConfig.waveReadinessGate]).toEqual([20, false])
      },
    },
    {
      id: 'order-waves-in-the-cluster',
      part: 'order/wave-size',
      says: 'the API server saw it so, too: no launcher of a wave is deleted before the instances of the wave before are Running',
      check: (_, bed) => {
        const { log, namespace } = bed
        const isRunningThere = (object: unknown): boolean => {
          const { phase, nodeName } = (object as { status?: { phase?: string; nodeName?: string } }).status ?? {}
          return phase === 'Running' && bed.roomOf(nodeName) === livingRoom
        }
        const runsSince = (name: string): number =>
          log
            .changes('virtualmachineinstances')
            .find(({ object }) => object.metadata.name === name && object.metadata.namespace === namespace && isRunningThere(object))
            ?.version ?? Infinity
        const deletedAt = (name: string): number =>
          log.changes('pods').find(({ type, object }) => type === 'DELETED' && object.metadata.labels?.['vm.kubevirt.io/name'] === name)
            ?.version ?? -1
        expect(Math.min(deletedAt('third'), deletedAt('fourth'))).toBeGreaterThan(Math.max(runsSince('first'), runsSince('second')))
        expect(deletedAt('fifth')).toBeGreaterThan(Math.max(runsSince('third'), runsSince('fourth')))
      },
    },
    {
      id: 'kubevirt-once-restarted-by-policy',
      part: 'kubevirt/once',
      says: 'a VM of strategy Once runs again where the policy says so: its failed instance, and no other, is deleted by uid',
      check: async ({ writes, onceUid }, bed) => {
        const deletes = writes.filter(({ verb, path }) => verb === 'delete' && path.includes('/virtualmachineinstances/'))
        expect(deletes.map(({ path, body }) => [path.slice(path.lastIndexOf('/') + 1), (body as { uid: string }).uid])).toEqual([
          ['fifth', onceUid],
        ])
        expect((await bed.vmiRuns('fifth', livingRoom)).metadata.uid).not.toBe(onceUid)
      },
    },
  ],
})
