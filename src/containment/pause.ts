/** Pausing: every pod that can write shared storage stands still, and can be resumed where it stood (docs/protocol/containment.md). Adapter. */
import type { Grip } from './grip.ts'
import type { Unverified } from './verification.ts'
import type { Workload } from './workloads.ts'

/**
 * What a pause is worth for a pod; only the caller knows its volumes.
 * - `already-suspended`: every volume of it is DRBD, suspended by freeze mode (or Secondary) at this moment: it cannot write, paused or not. A task in
 *   uninterruptible sleep, which never freezes, does no harm.
 * - `when-paused`: it writes by direct block I/O and nothing is in flight: harmless once its tasks stand still.
 * - `never`: page cache, a file system of the host or network storage: these write on behind a paused process.
 */
export type PauseValue = 'already-suspended' | 'when-paused' | 'never'

/** Pauses each, and tells what is not harmless. One pod's failure never keeps the others running. */
export async function pauseAll(
  grip: Grip,
  workloads: readonly Workload[],
  pauseValue: (workload: Workload) => PauseValue,
): Promise<readonly Unverified[]> {
  return inTwoSteps(workloads, grip.pause, async (workload) => {
    const value = pauseValue(workload)
    if (value === 'already-suspended') return undefined
    const reason = await grip.whyNotPaused(workload)
    if (reason !== undefined || value === 'when-paused') return reason
    return 'paused, but what it has already given to the page cache or the network is still written'
  })
}

/**
 * Resumes one after the other while the permit holds. It is asked again right before each, and after the last.
 *
 * @returns false where it was gone: the caller then pauses everything again. Pods that could not be resumed are listed.
 */
export async function resumeAll(
  grip: Grip,
  workloads: readonly Workload[],
  mayResume: () => boolean,
): Promise<{ readonly resumed: boolean; readonly failed: readonly Unverified[] }> {
  const failed: Unverified[] = []
  for (const workload of workloads) {
    if (!mayResume()) return { resumed: false, failed }
    try {
      await grip.resume(workload)
    } catch (error) {
      failed.push({ podUid: workload.podUid, reason: reasonOf(error) })
    }
  }
  return { resumed: mayResume(), failed }
}

/** First it is done to all, then looked at: what one look at the whole host shows came after every pod's signal. */
export async function inTwoSteps(
  workloads: readonly Workload[],
  act: (workload: Workload) => Promise<void>,
  why: (workload: Workload) => Promise<string | undefined>,
): Promise<readonly Unverified[]> {
  const failed = await collect(workloads, (workload) => act(workload).then(() => undefined))
  const acted = workloads.filter(({ podUid }) => !failed.some((one) => one.podUid === podUid))
  return [...failed, ...(await collect(acted, why))]
}

/** All at once, each failure of its own. */
async function collect(
  workloads: readonly Workload[],
  why: (workload: Workload) => Promise<string | undefined>,
): Promise<readonly Unverified[]> {
  const reasons = await Promise.all(workloads.map((workload) => why(workload).catch(reasonOf)))
  return workloads.flatMap(({ podUid }, index) => {
    const reason = reasons[index]
    return reason === undefined ? [] : [{ podUid, reason }]
  })
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
