/** Which branches of the protocol's code a sweep ran: V8's block counters in this process, added up over chunks, workers and parts. */
import { Session } from 'node:inspector/promises'

/**
 * One file's blocks, each `start-end` in characters: function bodies and what inside them can be run another number of times than its
 * surroundings (arms of conditions, right sides of `??`, `&&`, `||`, what follows an early return). V8 leaves out a block that always ran
 * exactly as often as what surrounds it.
 */
export interface FileCoverage {
  readonly covered: readonly string[]
  readonly uncovered: readonly string[]
}

/** By file, as `src/protocol/step.ts`. */
export type Coverage = Readonly<Record<string, FileCoverage>>

/** What `Profiler.takePreciseCoverage` gives, as far as it is used here. */
export interface ScriptCoverage {
  readonly url: string
  readonly functions: readonly {
    readonly functionName: string
    readonly ranges: readonly { readonly startOffset: number; readonly endOffset: number; readonly count: number }[]
  }[]
}

const WATCHED = /\/(src\/protocol\/[a-z-]+\.ts)$/

/** The blocks of the protocol's files; a module's own body is no block. */
export function coverageOf(scripts: readonly ScriptCoverage[]): Coverage {
  let total: Coverage = {}
  for (const { url, functions } of scripts) {
    const file = WATCHED.exec(url)?.[1]
    if (file === undefined) continue
    const counts = new Map<string, number>()
    for (const { functionName, ranges } of functions)
      for (const [i, { startOffset, endOffset, count }] of ranges.entries()) {
        if (i === 0 && functionName === '' && startOffset === 0) continue
        const key = `${startOffset}-${endOffset}`
        counts.set(key, (counts.get(key) ?? 0) + count)
      }
    const keys = [...counts.keys()].sort(byStart)
    const coverage = {
      covered: keys.filter((key) => counts.get(key) !== 0),
      uncovered: keys.filter((key) => counts.get(key) === 0),
    }
    total = addCoverage(total, { [file]: coverage })
  }
  return total
}

interface Block {
  readonly start: number
  readonly end: number
}

const blockOf = (key: string): Block => {
  const [start = 0, end = 0] = key.split('-').map(Number)
  return { start, end }
}

const byStart = (a: string, b: string): number => {
  const [one, other] = [blockOf(a), blockOf(b)]
  return one.start - other.start || other.end - one.end
}

/** Whether `file` ran that block: one that it does not list ran as often as what is around it, and nothing in a block that never ran did. */
function hasRun({ covered, uncovered }: FileCoverage, { start, end }: Block): boolean {
  const isAround = (key: string): boolean => {
    const around = blockOf(key)
    return around.start <= start && around.end >= end
  }
  return covered.some(isAround) && !uncovered.some(isAround)
}

export function addCoverage(a: Coverage, b: Coverage): Coverage {
  const total: Record<string, FileCoverage> = { ...a }
  for (const [file, other] of Object.entries(b)) {
    const one = total[file]
    total[file] = one ? addFile(one, other) : other
  }
  return Object.fromEntries(Object.entries(total).sort(([x], [y]) => (x < y ? -1 : 1)))
}

function addFile(a: FileCoverage, b: FileCoverage): FileCoverage {
  const keys = [...new Set([...a.covered, ...a.uncovered, ...b.covered, ...b.uncovered])].sort(byStart)
  const listed = [a, b].map((file) => ({ file, covered: new Set(file.covered), uncovered: new Set(file.uncovered) }))
  const isCovered = (key: string): boolean =>
    listed.some(({ file, covered, uncovered }) => covered.has(key) || (!uncovered.has(key) && hasRun(file, blockOf(key))))
  return { covered: keys.filter(isCovered), uncovered: keys.filter((key) => !isCovered(key)) }
}

/** Covered and all blocks of a part or of one file. */
export function countBlocks(coverage: Coverage): { readonly covered: number; readonly total: number } {
  let covered = 0
  let total = 0
  for (const file of Object.values(coverage)) {
    covered += file.covered.length
    total += file.covered.length + file.uncovered.length
  }
  return { covered, total }
}

/**
 * One line for each file, and under it each block that no schedule ran, as file:line and the line's text.
 * @param read gives a file's text; the block's lines are those of the text as it is now.
 */
export function describeCoverage(coverage: Coverage, read: (file: string) => string): readonly string[] {
  const { covered, total } = countBlocks(coverage)
  const lines = [`coverage of protocol branches: ${covered} of ${total} (${percent(covered, total)})`]
  for (const [file, one] of Object.entries(coverage)) {
    const all = one.covered.length + one.uncovered.length
    lines.push(`  ${file}: ${one.covered.length} of ${all}`)
    const text = one.uncovered.length > 0 ? read(file) : ''
    for (const key of one.uncovered) {
      const { start, end } = blockOf(key)
      // A block begins at the space or the brace before its first word.
      const first = start + (/^[\s{]*/.exec(text.slice(start, end))?.[0].length ?? 0)
      const line = text.slice(0, first).split('\n').length
      const last = text.slice(0, end).trimEnd().split('\n').length
      const shown = text.slice(first, end).split('\n')[0]?.trim() ?? ''
      lines.push(`    ${file}:${line}${last > line ? `-${last}` : ''}  ${shown.slice(0, 100)}`)
    }
  }
  return lines
}

export const percent = (part: number, of: number): string => (of === 0 ? '-' : `${((100 * part) / of).toFixed(1)} %`)

export interface CoverageMeter {
  /** What ran since the last call. */
  take(): Promise<Coverage>
}

/** Starts V8's counters in this thread; code that was loaded before keeps its optimised form until they run, so start it first. */
export async function startCoverage(): Promise<CoverageMeter> {
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  return {
    take: async () => coverageOf((await session.post('Profiler.takePreciseCoverage')).result),
  }
}
