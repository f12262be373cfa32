/** A node's monotonic clock: an offset of its own, and a rate that may change but stays within the allowed error. Wall time does not exist here. */
import type { Random } from './random.ts'

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

/** As often at the edge of what is allowed as somewhere between. */
export const rateOf = (random: Random, error: number): number => 1 + Math.max(-1, Math.min(1, random.between(-2, 2))) * error
