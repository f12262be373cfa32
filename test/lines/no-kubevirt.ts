/** A cluster without KubeVirt: a control plane of its own. */
import { expect } from 'vitest'
import type { FailoverResult } from '../../src/failover/run/progress.ts'
import { isApiError } from '../support/api-client.ts'
import type { Bed, PlayedFailover } from './bed.ts'
import { stage } from './lines.ts'
import { createDeployment, createStatefulSet } from './line-objects.ts'
import { deadRoom, livingRoom } from './world.ts'

async function play(bed: Bed): Promise<PlayedFailover & { readonly result: FailoverResult }> {
  await createStatefulSet(bed.api, bed.namespace, { name: 'db', room: deadRoom, accessMode: 'ReadWriteOnce' })
  await createDeployment(bed.api, bed.namespace, { name: 'web', room: deadRoom })
  await bed.podsRun('db', deadRoom)
  await bed.podsRun('web', deadRoom)
  bed.withoutEviction()
  await bed.powerOff()
  return bed.failedOver()
}

export const withoutKubeVirt = stage({
  name: 'no-kubevirt',
  cluster: 'without-kubevirt',
  play,
  lines: [
    {
      id: 'kubevirt-not-installed',
      part: 'kubevirt/no-kubevirt',
      says: 'a cluster without KubeVirt is served all the same: its other workloads come back, and the fence finishes',
      check: async ({ result, events, order }, bed) => {
        const missing = await bed.api.list('/apis/kubevirt.io/v1/virtualmachines').catch((error: unknown) => isApiError(error, 404))
        expect(missing).toBe(true)
        expect(result).toMatchObject({ outcome: 'finished', failed: [], blocked: [] })
        expect(events.filter(({ kind }) => kind === 'api-unavailable' || kind === 'step-failed')).toEqual([])
        await bed.podsRun('db', livingRoom)
        await bed.podsRun('web', livingRoom)
        expect((await bed.fence(order.id)).status?.phase).toBe('Finished')
      },
    },
  ],
})
