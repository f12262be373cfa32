/** A node's monotonic clock: an offset of its own, and a rate that may change but stays within the allowed error. Wall time does not exist here. */

export interface Clock {
  sinceMs: number
  localMs: number
  rate: number
}

export const readClock = (clock: Clock, nowMs: number): number => clock.localMs + (nowMs - clock.sinceMs) * clock.rate

export function changeRate(clock: Clock, rate: number, nowMs: number): void {
  clock.localMs = readClock(clock, nowMs)
  clock.sinceMs = nowMs
  clock.rate = rate
}
