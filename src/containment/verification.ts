/** Waiting until containment is verified, or until its time is up. Adapter. */
import { setTimeout as sleep } from 'node:timers/promises'

export interface Unverified {
  /** The pod, or what else is not contained (`drbd`, `node`). */
  readonly podUid: string
  readonly reason: string
}

/** What containment came to. Not verified in time: the caller reboots the node, and stops petting its watchdog. */
export interface ContainmentResult {
  readonly verified: boolean
  readonly unverified: readonly Unverified[]
  /** Monotonic ms at which the last look began. */
  readonly atMs: number
  /** It was cut short by a stronger order, whose result counts; this one is no failure. */
  readonly isSuperseded: boolean
}

export interface Deadline {
  readonly nowMs: () => number
  readonly untilMs: number
  /** Asked between two looks: something stronger was ordered meanwhile (a kill while pausing). */
  readonly isSuperseded: () => boolean
}

const BETWEEN_LOOKS_MS = 10

/**
 * Looks again and again until nothing is in the way or the time is up. A look that fails is in the way itself; of one that the end of the time cuts short,
 * the reasons are those of the look before.
 */
export async function verified(look: () => Promise<readonly Unverified[]>, deadline: Deadline): Promise<ContainmentResult> {
  let lastSeen: readonly Unverified[] = [{ podUid: 'node', reason: 'looking took too long' }]
  for (;;) {
    const atMs = deadline.nowMs()
    const seen = await inTime(look, deadline)
    lastSeen = seen ?? lastSeen
    const isSuperseded = deadline.isSuperseded()
    if (seen?.length === 0 && !isSuperseded) return { verified: true, unverified: [], atMs, isSuperseded }
    if (seen === undefined || deadline.nowMs() >= deadline.untilMs || isSuperseded) {
      return { verified: false, unverified: lastSeen, atMs, isSuperseded }
    }
    await sleep(BETWEEN_LOOKS_MS)
  }
}

/** Nothing that hangs (a dead disk under the kubelet's directory) may hold up the answer beyond its time: undefined then. */
async function inTime(
  look: () => Promise<readonly Unverified[]>,
  { nowMs, untilMs }: Deadline,
): Promise<readonly Unverified[] | undefined> {
  const timer = new AbortController()
  const tooLate = sleep(Math.max(BETWEEN_LOOKS_MS, untilMs - nowMs()), undefined, { signal: timer.signal }).catch(() => undefined)
  try {
    return await Promise.race([look(), tooLate])
  } catch (error) {
    return [{ podUid: 'node', reason: error instanceof Error ? error.message : String(error) }]
  } finally {
    timer.abort()
  }
}
