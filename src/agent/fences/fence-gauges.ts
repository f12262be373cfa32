/** Gauges of what the present fences wait for, from their Fence objects' status as this agent carries them out. */
import type { FenceStatus } from '../../failover/fence/fence.ts'
import { type UnfenceBackoff, waitsForMs } from '../../failover/brakes/flapping.ts'
import type { Metrics } from '../../observe/metrics.ts'

/**
 * All zero for an agent that carries out nothing: the coordinator alone knows.
 *
 * @param isoTime wall-clock time
 */
export function showFences(metrics: Metrics, statuses: Iterable<FenceStatus>, backoff: UnfenceBackoff, isoTime: string): void {
  let held = 0
  let unplaced = 0
  const late = { true: 0, false: 0 }
  metrics.unfenceBackoff.reset()
  for (const { counts, volumeAttachments, flapping, nodes, unfenced } of statuses) {
    held += counts.held
    unplaced += counts.unplaced
    if (flapping !== undefined)
      for (const { name } of nodes)
        if (!unfenced.some(({ node }) => node === name))
          metrics.unfenceBackoff.set({ node: name }, waitsForMs(flapping, isoTime, backoff) / 1_000)
    for (const { isLate, blocks } of volumeAttachments) if (isLate) late[blocks ? 'true' : 'false'] += 1
  }
  metrics.blockedWorkloads.set(held)
  metrics.unplaced.set(unplaced)
  for (const blocks of ['true', 'false'] as const) metrics.attachmentsLate.set({ blocks }, late[blocks])
}
