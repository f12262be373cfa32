/** Time as the failover is given it. */

export interface FailoverClock {
  /** Monotonic. */
  nowMs(): number
  /** Wall-clock time for people and for the Fence object only: RFC 3339. */
  isoTime(): string
  /** Resolves early when the signal aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}
