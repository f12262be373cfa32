/** virt-controller and virt-api are not in the lost room, but down while it is lost. */
import { expect } from 'vitest'
import type { FailoverResult } from '../../src/failover/run/progress.ts'
import type { Bed, PlayedFailover } from './bed.ts'
import { kubevirtControl } from './kubevirt-control.ts'
import { phaseOf, vmisOf } from './kubevirt-objects.ts'
import { stage } from './lines.ts'
import { createStatefulSet, createVm } from './line-objects.ts'
import { deadRoom, livingRoom } from './world.ts'

interface ControlAway extends PlayedFailover {
  readonly result: FailoverResult
  readonly uids: ReadonlyMap<string, string>
  readonly phasesWhileAway: readonly string[]
  readonly eventWhileAway: readonly { readonly kind: string; readonly subject?: string }[]
  readonly fenceWhileAway: string
}

async function play(bed: Bed): Promise<ControlAway> {
  const { api, namespace } = bed
  const control = await kubevirtControl(bed)
  await createVm(api, namespace, { name: 'first', room: deadRoom })
  await createVm(api, namespace, { name: 'second', room: deadRoom, runStrategy: 'Manual' })
  await createStatefulSet(api, namespace, { name: 'db', room: deadRoom, accessMode: 'ReadWriteOnce' })
  await bed.startVm('second')
  for (const name of ['first', 'second']) await bed.vmiRuns(name, deadRoom)
  await bed.podsRun('db', deadRoom)
  const uids = new Map((await vmisOf(bed)).map(({ metadata }) => [metadata.name, metadata.uid]))
  await control.killController()
  await control.killApi()
  await bed.powerOff()
  const played = bed.failover()
  await bed.podsRun('db', livingRoom)
  // More than one round of steps: what the first came to has been told by then.
  const inVain = (): number =>
    played.writes.filter(({ path, outcome }) => path.endsWith('/virtualmachineinstances/first') && outcome !== 'ok').length
  await bed.until('KubeVirt was asked in vain, and again', () => inVain() > 2)
  const phasesWhileAway = (await vmisOf(bed)).map(phaseOf)
  const fenceWhileAway = (await bed.fence(played.order.id)).status?.phase ?? ''
  const eventWhileAway = [...played.events]
  await control.startController()
  control.startApi()
  const result = await bed.ended(played)
  await bed.log.settled()
  return { ...played, result, uids, phasesWhileAway, eventWhileAway: eventWhileAway, fenceWhileAway }
}

export const kubevirtControlAway = stage<ControlAway>({
  name: 'kubevirt-control-away',
  play,
  lines: [
    {
      id: 'kubevirt-away-others-served',
      part: 'kubevirt/controllers-lost',
      says: 'while virt-api and virt-controller are away, other workloads move all the same, the VMs are waited for, and nobody is told that the API server is away',
      check: async ({ phasesWhileAway, eventWhileAway, fenceWhileAway }) => {
        expect(phasesWhileAway).toEqual(['Running', 'Running'])
        expect(fenceWhileAway).toBe('Acting')
        const told = eventWhileAway.map(({ kind }) => kind)
        expect(told).toContain('step-failed')
        expect(told).not.toContain('api-unavailable')
      },
    },
    {
      id: 'kubevirt-away-touched',
      part: 'kubevirt/virt-api-stale',
      says: 'once virt-api answers a dry run again, instances that still count as Running are touched, so that virt-controller comes back to them',
      check: async ({ writes, uids }, bed) => {
        const touches = writes.filter(({ verb, path }) => verb === 'patch' && path.includes('/virtualmachineinstances/'))
        const failed = touches.filter(({ outcome }) => outcome !== 'ok')
        // No instance is written before a dry run said that it can be.
        expect(failed.length).toBeGreaterThan(0)
        expect(failed.every(({ isDryRun }) => isDryRun)).toBe(true)
        const written = touches.findIndex(({ isDryRun, outcome }) => !isDryRun && outcome === 'ok')
        expect(written).toBeGreaterThan(0)
        expect(touches.slice(0, written).some(({ isDryRun, outcome }) => isDryRun && outcome === 'ok')).toBe(true)
        const touched = bed.log
          .changes('virtualmachineinstances')
          .filter(({ object }) => object.metadata.annotations?.['roomfence.io/touched'] !== undefined)
        expect(touched.length).toBeGreaterThan(0)
        expect(touched.every(({ object }) => [...uids.values()].includes(object.metadata.uid))).toBe(true)
      },
    },
    {
      id: 'kubevirt-away-and-back',
      part: 'kubevirt/controllers-lost',
      says: 'when KubeVirt is back every VM comes back, the Manual one by one start',
      check: async ({ result, uids, events }, bed) => {
        expect(result).toMatchObject({ outcome: 'finished', failed: [], blocked: [] })
        for (const name of ['first', 'second']) expect((await bed.vmiRuns(name, livingRoom)).metadata.uid).not.toBe(uids.get(name))
        expect(events.filter((event) => event.kind === 'step-done' && event.subject === `${bed.namespace}/second start`)).toHaveLength(1)
      },
    },
  ],
})
