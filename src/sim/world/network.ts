/** The links between nodes, witness and API server: per direction and path lost, late, doubled, out of order or cut. */
import type { Random } from '../schedule/random.ts'
import type { Traffic } from '../schedule/schedule.ts'
import type { Timeline } from './timeline.ts'

export interface Link {
  isCut: boolean
  loss: number
  delayMs: number
  jitterMs: number
  duplicate: number
  /** By kind of message: how much later it comes, Infinity: never. */
  filters: ReadonlyMap<Traffic, number>
  /** Since when it has been as good as new, Infinity: it is not. */
  goodSinceMs: number
}

export interface Network {
  readonly sites: readonly string[]
  link(from: number, to: number, path: number): Link
  change(from: number, to: number, path: number | undefined, change: Partial<Link>): void
  heal(): void
  /** `arrive` runs once for each copy that gets through, over every path. */
  travel(from: number, to: number, traffic: Traffic, arrive: () => void): void
  /** Since when messages have been passing both ways on at least one path, Infinity: they do not. */
  contactSinceMs(a: number, b: number): number
  /** Whether a stream (storage, API) passes now on the given path. */
  passes(a: number, b: number, path: number): boolean
}

const DELAY_MS = 0.3

const JITTER_MS = 0.5

const unfiltered: ReadonlyMap<Traffic, number> = new Map()

export const freshLink = (): Omit<Link, 'goodSinceMs'> => ({
  isCut: false,
  loss: 0,
  delayMs: DELAY_MS,
  jitterMs: JITTER_MS,
  duplicate: 0,
  filters: unfiltered,
})

export function createNetwork(sites: readonly string[], nodes: number, paths: number, timeline: Timeline, random: Random): Network {
  const size = sites.length
  const fresh = (): Link => ({ ...freshLink(), goodSinceMs: 0 })
  const links = Array.from({ length: paths }, () => Array.from({ length: size * size }, fresh))
  const spare = fresh()
  const link = (from: number, to: number, path: number): Link => links[path]?.[from * size + to] ?? spare
  // Only nodes have several paths to each other.
  const pathsOf = (from: number, to: number): number => (from < nodes && to < nodes ? paths : 1)
  const isGood = (one: Link): boolean =>
    !one.isCut && one.loss === 0 && one.delayMs <= DELAY_MS && one.jitterMs <= JITTER_MS && one.filters.size === 0
  return {
    sites,
    link,
    change: (from, to, path, change) => {
      for (let p = 0; p < pathsOf(from, to); p++) {
        if (path !== undefined && path !== p && pathsOf(from, to) > 1) continue
        const one = link(from, to, p)
        const wasGood = isGood(one)
        Object.assign(one, change)
        if (!isGood(one)) one.goodSinceMs = Infinity
        else if (!wasGood) one.goodSinceMs = timeline.nowMs
      }
    },
    heal: () => {
      for (const ofPath of links)
        for (const one of ofPath) {
          const wasGood = isGood(one)
          Object.assign(one, freshLink())
          if (!wasGood) one.goodSinceMs = timeline.nowMs
        }
    },
    travel: (from, to, traffic, arrive) => {
      const count = pathsOf(from, to)
      for (let p = 0; p < count; p++) {
        const one = link(from, to, p)
        if (one.isCut || (one.loss > 0 && random.chance(one.loss))) continue
        const lateMs = one.filters.size === 0 ? 0 : (one.filters.get(traffic) ?? 0)
        if (lateMs === Infinity) continue
        timeline.in(lateMs + one.delayMs + random.next() * one.jitterMs, arrive)
        if (one.duplicate > 0 && random.chance(one.duplicate)) timeline.in(one.delayMs + random.next() * 2 * (1 + one.jitterMs), arrive)
      }
    },
    contactSinceMs: (a, b) => {
      let since = Infinity
      for (let p = 0; p < pathsOf(a, b); p++) since = Math.min(since, Math.max(link(a, b, p).goodSinceMs, link(b, a, p).goodSinceMs))
      return since
    },
    passes: (a, b, path) => {
      const there = link(a, b, path)
      const back = link(b, a, path)
      return !there.isCut && !back.isCut && there.loss < 0.9 && back.loss < 0.9
    },
  }
}
