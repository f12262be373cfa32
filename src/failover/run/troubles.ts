/** What is done when the API server does not do what it is asked: wait, or read again what others wrote. */
import { isKubeError, type KubeError } from '../../kubernetes/errors.ts'
import { readFence } from '../fence/fence-object.ts'
import { emptyFenceStatus, type Fence, type FenceStatus } from '../fence/fence.ts'
import { mergeStatus } from '../fence/merge.ts'
import type { Carrying } from './executing.ts'
import type { FailoverResult } from './progress.ts'
import { refusalReason } from './rbac.ts'
import { isOlder, resultOf } from './written-fence.ts'

export const firstBackoffMs = 250
const longestBackoffMs = 10_000

export async function backOff(on: Carrying, reason: string, askedMs: number | undefined): Promise<void> {
  const { clock, onProgress } = on.input
  const retryInMs = Math.max(askedMs ?? 0, on.backoffMs)
  onProgress({ kind: 'api-unavailable', reason, retryInMs, atMs: clock.nowMs() })
  on.backoffMs = Math.min(longestBackoffMs, on.backoffMs * 2)
  await clock.sleep(retryInMs, on.signal)
}

/** @returns the result when there is nothing left to carry out */
export async function recover(on: Carrying, error: KubeError): Promise<FailoverResult | undefined> {
  const { fence } = on
  if (fence !== undefined && isKubeError(error, 'conflict', 'not-found') && error.path.startsWith('/apis/roomfence.io/'))
    return readAgain(on, fence)
  if (fence === undefined && isKubeError(error, 'not-found') && error.method === 'POST') {
    await backOff(
      on,
      'the API server knows no Fence objects, and nothing is done unrecorded: kubectl apply -f deploy/crds',
      error.retryAfterMs,
    )
    return undefined
  }
  await backOff(on, refusalReason(error), error.retryAfterMs)
  return undefined
}

/** Another agent wrote, or the API server lost the fence (set back in time): what we know is written again. */
async function readAgain(on: Carrying, fence: Fence): Promise<FailoverResult | undefined> {
  const { client, order } = on.input
  const mine: FenceStatus = on.known ?? fence.status
  const theirs = await readFence(client, order.id, on.call).catch(() => undefined)
  if (theirs !== undefined && theirs.status.phase === 'Unfenced') return resultOf('stopped', theirs.status)
  if (theirs === undefined || isOlder(theirs, fence)) {
    on.observation.relist()
    on.done.startAsked.clear()
    on.done.released.clear()
  }
  on.written = theirs?.status ?? emptyFenceStatus
  on.fence = theirs === undefined ? undefined : { ...theirs, status: mergeStatus(theirs.status, mine) }
  return undefined
}
