/** Times of single workloads made into first, median and last of each kind, and those into a table. Pure. */
import type { Round } from './options.ts'

export type WorkloadKind = 'VM' | 'StatefulSet pod' | 'Deployment pod'

/** One workload that the power loss took. Milliseconds since then; undefined is: not while it was watched. */
export interface Recovery {
  readonly kind: WorkloadKind
  readonly name: string
  /** Its old pod was gone from the API, so that its owner and its volume are free. */
  readonly orderedMs: number | undefined
  /** Another instance of it ran in the living room: VMI Running, pod Ready. */
  readonly runningMs: number | undefined
}

export interface Spread {
  readonly count: number
  readonly back: number
  readonly firstMs: number | undefined
  /** Of all, those that did not come back counted as the latest: undefined when fewer than half and one did. */
  readonly medianMs: number | undefined
  /** Undefined when one did not come back. */
  readonly lastMs: number | undefined
}

export interface RoundResult {
  readonly round: Round
  readonly recoveries: readonly Recovery[]
  /** How long it was watched. */
  readonly watchedMs: number
}

const kinds: readonly WorkloadKind[] = ['VM', 'StatefulSet pod', 'Deployment pod']

export const titles: Readonly<Record<Round, string>> = {
  roomfence: 'roomfence',
  taint: 'taint alone, by hand',
  kubernetes: 'Kubernetes alone',
}

/** The median of an even number is the later of the middle two: at that moment half of them and one are there. */
export function spread(times: readonly (number | undefined)[]): Spread {
  const known = times.filter((ms) => ms !== undefined).toSorted((a, b) => a - b)
  return {
    count: times.length,
    back: known.length,
    firstMs: known[0],
    medianMs: known[Math.floor(times.length / 2)],
    lastMs: known.length < times.length ? undefined : known.at(-1),
  }
}

const minutes = (ms: number): string => `${Math.round(ms / 6_000) / 10} min`
const cell = (ms: number | undefined, watchedMs: number): string =>
  ms === undefined ? `> ${minutes(watchedMs)}` : `${(ms / 1_000).toFixed(1)} s`

/** How many times as long as roomfence took in the same run: of what did not come back, at least. */
export function ratio(ms: number | undefined, watchedMs: number, byRoomfenceMs: number | undefined): string {
  if (byRoomfenceMs === undefined || byRoomfenceMs <= 0) return '-'
  return ms === undefined ? `> ${(watchedMs / byRoomfenceMs).toFixed(1)} x` : `${(ms / byRoomfenceMs).toFixed(1)} x`
}

const heading = ['', 'ordered: first', 'median', 'last', 'running: first', 'median', 'last', 'of roomfence', 'back']

/** Columns as wide as their widest cell; the first to the left, the others to the right. */
export function columns(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = rows.reduce<readonly number[]>((known, row) => row.map((text, index) => Math.max(known[index] ?? 0, text.length)), [])
  return rows.map((row) =>
    row
      .map((text, index) => (index === 0 ? text.padEnd(widths[0] ?? 0) : text.padStart(widths[index] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
}

/** A block of lines for each kind of workload that there is. `of roomfence` compares the medians of running again. */
export function table(results: readonly RoundResult[]): readonly string[] {
  return kinds.flatMap((kind) => {
    const ofKind = results.map((result) => {
      const recoveries = result.recoveries.filter((one) => one.kind === kind)
      return {
        ...result,
        ordered: spread(recoveries.map(({ orderedMs }) => orderedMs)),
        running: spread(recoveries.map(({ runningMs }) => runningMs)),
      }
    })
    const most = Math.max(0, ...ofKind.map(({ running }) => running.count))
    if (most === 0) return []
    const byRoomfenceMs = ofKind.find(({ round }) => round === 'roomfence')?.running.medianMs
    const rows = ofKind.map(({ round, watchedMs, ordered, running }) => [
      titles[round],
      ...[ordered.firstMs, ordered.medianMs, ordered.lastMs, running.firstMs, running.medianMs, running.lastMs].map((ms) =>
        cell(ms, watchedMs),
      ),
      ratio(running.medianMs, watchedMs, byRoomfenceMs),
      `${running.back}/${running.count}`,
    ])
    return [...columns([[`${kind} (${most})`, ...heading.slice(1)], ...rows]), '']
  })
}

/** In words, what the table's `>` means: nothing for a round in which all came back. */
export function remarks(results: readonly RoundResult[]): readonly string[] {
  return results.flatMap(({ round, recoveries, watchedMs }) =>
    kinds.flatMap((kind) => {
      const away = recoveries.filter((one) => one.kind === kind && one.runningMs === undefined)
      const all = recoveries.filter((one) => one.kind === kind).length
      return away.length === 0 ? [] : [`${titles[round]}: ${away.length} of ${all} ${kind}s not back after ${minutes(watchedMs)}`]
    }),
  )
}

/** Reasons for which the run as a whole is wrong. */
export function faults(
  results: readonly (RoundResult & { readonly ranTwice: readonly string[]; readonly unfinished: string | undefined })[],
): readonly string[] {
  return results.flatMap(({ round, recoveries, ranTwice, unfinished }) => [
    ...ranTwice.map((what) => `${titles[round]}: ran twice: ${what}`),
    ...(unfinished === undefined ? [] : [`${titles[round]}: ${unfinished}`]),
    ...(round === 'roomfence'
      ? recoveries
          .filter(({ runningMs }) => runningMs === undefined)
          .map(({ kind, name }) => `${titles[round]}: ${kind} ${name} is not back`)
      : []),
  ])
}
