/** Makes a failing schedule small: takes out faults and strikes as long as the same property still fails (delta debugging). */
import { runSchedule } from '../run/run.ts'
import type { Planned, Schedule, Strike } from '../schedule/schedule.ts'

type Item = { readonly planned: Planned } | { readonly strike: Strike }

const RUNS = 400

/** A schedule with as few faults as `RUNS` tries find that still violates `property`; ended soon after the last fault. */
export function shrink(schedule: Schedule, property: string): Schedule {
  const tries = { left: RUNS }
  const isFailing = (candidate: Schedule): boolean => {
    tries.left -= 1
    return runSchedule(candidate).violations.some((violation) => violation.property === property)
  }
  let items: readonly Item[] = [...schedule.planned.map((planned) => ({ planned })), ...schedule.strikes.map((strike) => ({ strike }))]
  const withItems = (kept: readonly Item[]): Schedule => ({
    ...schedule,
    planned: kept.flatMap((item) => ('planned' in item ? [item.planned] : [])),
    strikes: kept.flatMap((item) => ('strike' in item ? [item.strike] : [])),
  })
  let size = Math.ceil(items.length / 2)
  while (size >= 1 && tries.left > 0) {
    let isSmaller = false
    for (let from = 0; from < items.length && tries.left > 0; ) {
      const kept = [...items.slice(0, from), ...items.slice(from + size)]
      if (isFailing(withItems(kept))) {
        items = kept
        isSmaller = true
      } else from += size
    }
    if (!isSmaller || size > items.length) size = size === 1 ? 0 : Math.ceil(size / 2)
  }
  return withItems(items)
}
