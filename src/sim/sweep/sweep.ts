/** Runs many seeds and adds up what happened in them. */
import { generate } from '../schedule/generate.ts'
import { runSchedule } from '../run/run.ts'
import type { Profile } from '../schedule/schedule.ts'

export interface Failure {
  readonly seed: number
  readonly property: string
  readonly text: string
}

export interface Sweep {
  readonly profile: Profile
  readonly firstSeed: number
  readonly seeds: number
  readonly virtualMs: number
  readonly longestStallMs: number
  readonly failures: readonly Failure[]
  readonly counts: Readonly<Record<string, number>>
}

/** @param isTimeUp asked before each seed; the sweep ends early when it says so. */
export function sweep(profile: Profile, firstSeed: number, seeds: number, isTimeUp: () => boolean = () => false): Sweep {
  const failures: Failure[] = []
  const counts = new Map<string, number>()
  let virtualMs = 0
  let longestStallMs = 0
  let done = 0
  for (; done < seeds && !isTimeUp(); done++) {
    const seed = firstSeed + done
    const outcome = runSchedule(generate(seed, profile))
    virtualMs += outcome.virtualMs
    longestStallMs = Math.max(longestStallMs, outcome.stallMs)
    for (const [what, count] of outcome.counts) counts.set(what, (counts.get(what) ?? 0) + count)
    const [violation] = outcome.violations
    if (violation) failures.push({ seed, property: violation.property, text: violation.text })
  }
  const sorted = [...counts].sort(([a], [b]) => (a < b ? -1 : 1))
  return { profile, firstSeed, seeds: done, virtualMs, longestStallMs, failures, counts: Object.fromEntries(sorted) }
}

export function addSweeps(a: Sweep, b: Sweep): Sweep {
  const counts: Record<string, number> = { ...a.counts }
  for (const [what, count] of Object.entries(b.counts)) counts[what] = (counts[what] ?? 0) + count
  return {
    profile: a.profile,
    firstSeed: Math.min(a.firstSeed, b.firstSeed),
    seeds: a.seeds + b.seeds,
    virtualMs: a.virtualMs + b.virtualMs,
    longestStallMs: Math.max(a.longestStallMs, b.longestStallMs),
    failures: [...a.failures, ...b.failures],
    counts,
  }
}
