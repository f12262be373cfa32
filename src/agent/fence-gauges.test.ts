import { expect, test } from 'vitest'
import { emptyFenceStatus } from '../failover/fence-object.ts'
import { createMetrics } from '../observe/metrics.ts'
import { showFences } from './fence-gauges.ts'

const attachment = { name: 'va', node: 'b1', persistentVolume: 'pv', claim: '', accessModes: [], reason: '' }

test('the gauges of held and unplaced workloads and of late attachments follow the fences that are carried out, down to zero again', async () => {
  const metrics = createMetrics()
  const values = async (name: string) =>
    ((await metrics.registry.getSingleMetric(name)?.get())?.values ?? []).map(({ labels, value }) => ({ ...labels, value }))
  const status = {
    ...emptyFenceStatus,
    counts: { ...emptyFenceStatus.counts, held: 2, unplaced: 3 },
    volumeAttachments: [
      { ...attachment, blocks: true, isLate: true },
      { ...attachment, blocks: false, isLate: true },
      { ...attachment, blocks: true, isLate: false },
    ],
  }
  showFences(metrics, [status, { ...status, volumeAttachments: [] }])
  expect(await values('roomfence_held_workloads')).toEqual([{ value: 4 }])
  expect(await values('roomfence_unplaced_workloads')).toEqual([{ value: 6 }])
  expect(await values('roomfence_volume_attachments_late')).toEqual([
    { blocks: 'true', value: 1 },
    { blocks: 'false', value: 1 },
  ])
  showFences(metrics, [])
  expect(await values('roomfence_held_workloads')).toEqual([{ value: 0 }])
})
