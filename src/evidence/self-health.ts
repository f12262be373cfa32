/** How late this agent's own timers run: one that sleeps has no right to accuse others of silence (docs/protocol/choosing.md, "Suspicion"). */

export interface Lateness {
  /** How late the last tick came, ms; 0 or more. */
  readonly lastMs: number
  /** The largest of the last ticks. */
  readonly largestMs: number
  /** When a tick last came later than allowed; -Infinity: never. */
  readonly lateAtMs: number
}

export const PUNCTUAL: Lateness = { lastMs: 0, largestMs: 0, lateAtMs: -Infinity }

/** What one tick tells. `largestMs` forgets slowly, so that a scrape sees a spike. Pure. */
export function afterTick(before: Lateness, expectedAtMs: number, nowMs: number, lateMs: number): Lateness {
  const lastMs = Math.max(0, nowMs - expectedAtMs)
  return { lastMs, largestMs: Math.max(lastMs, before.largestMs * 0.99), lateAtMs: lastMs > lateMs ? nowMs : before.lateAtMs }
}

export interface SelfHealth {
  current(): Lateness
  stop(): void
}

export interface SelfHealthOptions {
  readonly everyMs: number
  /** Later than this is late. */
  readonly lateMs: number
  readonly clock: () => number
  readonly onLate?: (lateness: Lateness) => void
}

/** A tick of its own every `everyMs`, each measured against the one before. */
export function watchSelf({ everyMs, lateMs, clock, onLate }: SelfHealthOptions): SelfHealth {
  let lateness = PUNCTUAL
  let lastAtMs = clock()
  const timer = setInterval(() => {
    const nowMs = clock()
    lateness = afterTick(lateness, lastAtMs + everyMs, nowMs, lateMs)
    lastAtMs = nowMs
    if (lateness.lateAtMs === nowMs) onLate?.(lateness)
  }, everyMs)
  timer.unref()
  return { current: () => lateness, stop: () => clearInterval(timer) }
}
