/** How far a sweep is, told every few seconds on standard error: how many, how fast, how long it will take still. */

const REPORT_EVERY_MS = 5_000

export interface Telling {
  done(seeds: number, failed: number): void
  /** @returns how long it took, ms */
  stop(): number
}

export function startProgress(seeds: number): Telling {
  const startMs = performance.now()
  let done = 0
  let failed = 0
  const timer = setInterval(() => {
    process.stderr.write(`${describeProgress(done, seeds, failed, performance.now() - startMs)}\n`)
  }, REPORT_EVERY_MS)
  return {
    done: (more, wrong) => {
      done += more
      failed += wrong
    },
    stop: () => {
      clearInterval(timer)
      return performance.now() - startMs
    },
  }
}

export function describeProgress(done: number, seeds: number, failed: number, tookMs: number): string {
  const perSecond = (1000 * done) / tookMs
  const left = done === 0 ? 'unknown' : describeSeconds(Math.round((seeds - done) / perSecond))
  return `${done} of ${seeds} (${Math.floor((100 * done) / seeds)} %), ${perSecond.toFixed(0)} a second, ${left} left, ${failed} failed`
}

const describeSeconds = (seconds: number): string => (seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`)
