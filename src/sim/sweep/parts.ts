/** The file of a resumable sweep: its parts, each with the commit that it ran on, and the table that docs/simulation.md wants of them. */
import * as z from 'zod/mini'
import { addCoverage, type Coverage, countBlocks, percent } from './coverage.ts'
import type { Profile } from '../schedule/schedule.ts'
import { addSweeps, type Sweep } from './sweep.ts'

export interface Part {
  readonly commit: string
  readonly total: Sweep
  /** Schedules whose branches were counted; the rest of the part ran without `--coverage`. */
  readonly measuredSeeds: number
  readonly coverage: Coverage
}

const part = z.strictObject({
  commit: z.string(),
  total: z.strictObject({
    profile: z.enum(['ordinary', 'hostile']),
    firstSeed: z.int(),
    seeds: z.int().check(z.minimum(0)),
    virtualMs: z.number(),
    longestStallMs: z.number(),
    failures: z.array(z.strictObject({ seed: z.int(), property: z.string(), text: z.string() })),
    counts: z.record(z.string(), z.number()),
  }),
  measuredSeeds: z.int().check(z.minimum(0)),
  coverage: z.record(z.string(), z.strictObject({ covered: z.array(z.string()), uncovered: z.array(z.string()) })),
})
const file = z.strictObject({ parts: z.array(part) })

export const startPart = (commit: string, profile: Profile, firstSeed: number): Part => ({
  commit,
  total: { profile, firstSeed, seeds: 0, virtualMs: 0, longestStallMs: 0, failures: [], counts: {} },
  measuredSeeds: 0,
  coverage: {},
})

export const addToPart = ({ commit, total, measuredSeeds, coverage }: Part, more: Sweep, measured: Coverage | undefined): Part => ({
  commit,
  total: addSweeps(total, more),
  measuredSeeds: measuredSeeds + (measured ? more.seeds : 0),
  coverage: measured ? addCoverage(coverage, measured) : coverage,
})

/** @throws when the text is not such a file: the message names the field. */
export function readParts(text: string): readonly Part[] {
  const read = file.safeParse(JSON.parse(text), { error: z.locales.en().localeError })
  if (!read.success) throw new Error(z.prettifyError(read.error))
  return read.data.parts
}

export const writeParts = (parts: readonly Part[]): string => `${JSON.stringify({ parts })}\n`

/** The parts before, and the one to go on with: of this commit and profile, or a new one with seeds that no part before has run. */
export function resumeParts(
  parts: readonly Part[],
  commit: string,
  profile: Profile,
  firstSeed: number | undefined,
  freshSeed: number,
): { readonly before: readonly Part[]; readonly current: Part } {
  const ofCommit = parts.filter((one) => one.commit === commit && one.total.profile === profile)
  const same = ofCommit.find(({ total }) => firstSeed === undefined || total.firstSeed === firstSeed)
  if (same) return { before: parts.filter((one) => one !== same), current: same }
  const ran = parts.filter(({ total }) => total.profile === profile).map(({ total }) => total.firstSeed + total.seeds)
  return { before: parts, current: startPart(commit, profile, firstSeed ?? (ran.length > 0 ? Math.max(...ran) : freshSeed)) }
}

const count = ({ counts }: Sweep, what: string): number => counts[what] ?? 0
const thousands = (value: number): string => value.toString().replaceAll(/\B(?=(?:\d{3})+$)/g, ',')

function faultsOf({ counts }: Sweep): string {
  const faults = Object.entries(counts).filter(([what]) => what.startsWith('fault ') && what !== 'fault repair')
  return faults.map(([what, times]) => `${what.slice(6)} ${thousands(times)}`).join(', ')
}

/** Failures by property, with the first seeds of each. */
function describeFailures({ failures }: Sweep): string {
  if (failures.length === 0) return 'none'
  const ofProperty = Map.groupBy(failures, ({ property }) => property)
  return [...ofProperty]
    .map(([property, them]) => {
      const seeds = them.slice(0, 5).map(({ seed }) => seed)
      return `${property} in ${them.length} (${seeds.join(', ')}${them.length > seeds.length ? ', …' : ''})`
    })
    .join('; ')
}

/** What a person reads at the end of a part. */
export function summarise({ commit, total, measuredSeeds, coverage }: Part): readonly string[] {
  const { covered, total: blocks } = countBlocks(coverage)
  return [
    `${total.seeds} ${total.profile} schedules from seed ${total.firstSeed} on commit ${commit}: ${total.failures.length} failed`,
    ...(total.failures.length > 0 ? [`failed: ${describeFailures(total)}`] : []),
    `${count(total, 'failovers')} failovers, ${count(total, 'epochs fence')} fences, ${count(total, 'strikes')} strikes at protocol moments, longest stall after a room's loss ${(total.longestStallMs / 1000).toFixed(1)} s`,
    `faults: ${faultsOf(total)}`,
    ...(measuredSeeds > 0
      ? [`branches of src/protocol: ${covered} of ${blocks} (${percent(covered, blocks)}), counted in ${measuredSeeds} of them`]
      : []),
    `${(total.virtualMs / 3_600_000).toFixed(1)} h of virtual time`,
  ]
}

const columns = ['commit', 'schedules', 'failovers', 'fences', 'strikes', 'virtual time', 'longest stall', 'protocol branches', 'failed']

function row(name: string, schedules: string, total: Sweep, branches: string): string {
  const cells = [
    name,
    schedules,
    ...['failovers', 'epochs fence', 'strikes'].map((what) => thousands(count(total, what))),
    `${thousands(Math.round(total.virtualMs / 3_600_000))} h`,
    `${(total.longestStallMs / 1000).toFixed(1)} s`,
    branches,
    describeFailures(total),
  ]
  return `| ${cells.join(' | ')} |`
}

/** All parts as a markdown table, one row for each and one for all, and the faults by kind under it. Branches are those of one commit, so they have no sum. */
export function report(parts: readonly Part[]): readonly string[] {
  const ran = parts.filter(({ total }) => total.seeds > 0)
  if (ran.length === 0) return ['no part has run']
  const lines = [`| ${columns.join(' | ')} |`, `|${columns.map(() => '---').join('|')}|`]
  for (const { commit, total, measuredSeeds, coverage } of ran) {
    const { covered, total: blocks } = countBlocks(coverage)
    const branches =
      measuredSeeds === 0
        ? 'not counted'
        : `${covered} of ${blocks} (${percent(covered, blocks)})${measuredSeeds < total.seeds ? `, in ${thousands(measuredSeeds)} of them` : ''}`
    lines.push(row(commit, `${thousands(total.seeds)} ${total.profile} from seed ${total.firstSeed}`, total, branches))
  }
  const [first, ...others] = ran.map(({ total }) => total)
  if (!first) return lines
  const all = others.reduce(addSweeps, first)
  if (ran.length > 1) lines.push(row('all', thousands(all.seeds), all, ''))
  return [...lines, '', `Faults by kind: ${faultsOf(all)}.`]
}
