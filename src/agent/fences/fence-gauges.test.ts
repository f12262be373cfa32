import { expect, test } from 'vitest'
import { emptyFenceStatus, type FenceStatus } from '../../failover/fence/fence.ts'
import { createMetrics } from '../../observe/metrics.ts'
import { defaultFailoverConfig } from '../../../test/support/failover-examples.ts'
import { showFences } from './fence-gauges.ts'

const recordedNode = { name: 'b1', uid: '', bootId: '', fenced: true, outOfService: true, proof: '', waitingFor: '' } as const
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
  const show = (statuses: readonly FenceStatus[]) => showFences(metrics, statuses, defaultFailoverConfig, '2026-01-01T00:00:00Z')
  const flapping = { fencesBefore: 1, unfenceNotBefore: '2026-01-01T00:01:00Z' }
  show([status, { ...status, volumeAttachments: [], nodes: [recordedNode], flapping }])
  expect(await values('roomfence_blocked_workloads')).toEqual([{ value: 4 }])
  expect(await values('roomfence_unplaced_workloads')).toEqual([{ value: 6 }])
  expect(await values('roomfence_volume_attachments_late')).toEqual([
    { blocks: 'true', value: 1 },
    { blocks: 'false', value: 1 },
  ])
  expect(await values('roomfence_unfence_backoff_seconds')).toEqual([{ node: 'b1', value: 60 }])
  show([])
  expect(await values('roomfence_unfence_backoff_seconds')).toEqual([])
  expect(await values('roomfence_blocked_workloads')).toEqual([{ value: 0 }])
})
