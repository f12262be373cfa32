/**
 * A node or room that is fenced again soon after it was let back: how long its next un-fence has to wait (docs/protocol/operator.md). Pure.
 *
 * Each round of fence and un-fence moves every VM and resynchronises every replica, so whoever lets a flapping room back at once makes an outage of each of
 * its flaps. Times are the API server's, from the Fence objects.
 */
import type { PastFence, RecordedFlapping } from '../fence/fence.ts'

export interface UnfenceBackoff {
  /** A node that was fenced and un-fenced within this time before its present fence flaps. */
  readonly flapWindowMs: number
  /** The first wait before the un-fence of a node that flaps is accepted; twice as long with every further round. */
  readonly unfenceBackoffMs: number
  readonly unfenceBackoffMaxMs: number
}

/**
 * Counted are fences of the node that were followed by its un-fence, within the window before the present one. The wait begins with the present fence and
 * doubles with each that is counted.
 *
 * @returns undefined for a node that does not flap
 */
export function flappingOf(
  node: string,
  present: PastFence,
  fences: readonly PastFence[],
  { flapWindowMs, unfenceBackoffMs, unfenceBackoffMaxMs }: UnfenceBackoff,
): RecordedFlapping | undefined {
  const sinceMs = Date.parse(present.createdAt)
  const before = fences.filter(
    ({ epoch, createdAt, dryRun, nodes, unfenced }) =>
      epoch < present.epoch &&
      !dryRun &&
      nodes.includes(node) &&
      unfenced.includes(node) &&
      sinceMs - Date.parse(createdAt) <= flapWindowMs,
  )
  if (before.length === 0 || Number.isNaN(sinceMs)) return undefined
  const waitMs = Math.min(unfenceBackoffMaxMs, unfenceBackoffMs * 2 ** (before.length - 1))
  return { fencesBefore: before.length, unfenceNotBefore: new Date(sinceMs + waitMs).toISOString() }
}

/** Of all its nodes the one that waits for the longest. */
export const worstFlapping = (
  nodes: readonly string[],
  present: PastFence,
  fences: readonly PastFence[],
  backoff: UnfenceBackoff,
): RecordedFlapping | undefined =>
  nodes
    .flatMap((node) => flappingOf(node, present, fences, backoff) ?? [])
    .toSorted((a, b) => b.fencesBefore - a.fencesBefore)
    .at(0)

/** How long the back-off still lasts; never longer than it was meant to, whatever this node's clock says. */
export const waitsForMs = ({ unfenceNotBefore }: RecordedFlapping, isoTime: string, { unfenceBackoffMaxMs }: UnfenceBackoff): number =>
  Math.min(unfenceBackoffMaxMs, Math.max(0, Date.parse(unfenceNotBefore) - Date.parse(isoTime)))

export const flappingNote = ({ fencesBefore, unfenceNotBefore }: RecordedFlapping): string =>
  `fenced again after ${String(fencesBefore)} ${fencesBefore === 1 ? 'fence' : 'fences'} and un-fences not long ago: an un-fence is accepted from ${unfenceNotBefore} on`
