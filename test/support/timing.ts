/** One factor, `ROOMFENCE_TIME_FACTOR`, that stretches every delay and limit of the cluster tests on a slow machine. */
import { setTimeout as delay } from 'node:timers/promises'

const readFactor = (): number => {
  const seen = process.env['ROOMFENCE_TIME_FACTOR']
  if (seen === undefined || seen === '') return 1
  const factor = Number(seen)
  if (!(factor >= 0.1 && factor <= 100)) throw new Error(`ROOMFENCE_TIME_FACTOR: seen '${seen}', allowed is a number from 0.1 to 100`)
  return factor
}

const timeFactor: number = readFactor()

/** A time of the tests, stretched. */
export const stretched = (ms: number): number => ms * timeFactor

export const sleep = async (ms: number): Promise<void> => delay(ms)

/**
 * Waits until `look` gives something other than undefined or false, and returns it.
 * `what` is a sentence for the error; the last error of `look`, if any, is its cause. `limitMs` is stretched.
 */
export const until = async <T>(
  what: string,
  limitMs: number,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  everyMs = 100,
): Promise<T> => {
  const deadlineMs = performance.now() + stretched(limitMs)
  let cause: unknown
  for (;;) {
    try {
      const seen = await look()
      if (seen !== undefined && seen !== false) return seen
      cause = undefined
    } catch (error) {
      cause = error
    }
    if (performance.now() > deadlineMs) throw new Error(`not within ${Math.round(stretched(limitMs) / 1000)} s: ${what}`, { cause })
    await delay(everyMs)
  }
}
