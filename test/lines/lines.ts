/**
 * The lines of the failover: each a sentence that is tested against the embedded API server and against the real control plane.
 *
 * How to add lines: write `test/lines/<topic>-<name>.ts` that exports a `stage(...)`, and put it into `all.ts`. That is all: the suites of both worlds
 * and the table in docs/failover-test-matrix.md (`UPDATE_DOCS=1 npx vitest run test/lines/line-table.test.ts`) are made from that list.
 *
 * A stage is one play that many lines look at: `play` gets a `Bed` (bed.ts) in a namespace of its own with all nodes on and nothing fenced, and what it
 * returns is handed to each line's `check`. Keep `play` short: the real run of all stages together has four minutes. A line belongs to a part of
 * issue.ts; its id stands first in its test's name. A line that one world cannot play says why (`real: { cannot: '...' }`); one that another test file
 * proves names it (`embedded: { file, test }`), and the table's test looks whether that test is there.
 */
import { afterAll, beforeAll, describe, test } from 'vitest'
import { type Bed, openBed } from './bed.ts'
import type { Part } from './issue.ts'
import type { ClusterKind, World, WorldName } from './world.ts'

/** Where a line is shown, when not by its own check. */
export type Elsewhere =
  /** Why this world cannot play it. */
  | { readonly cannot: string }
  /** The test that shows it: its file from the repository's root, and its name or the end of it. */
  | { readonly file: string; readonly test: string }

interface LineBase {
  /** Lower case with dashes, unique. */
  readonly id: string
  readonly part: Part
  /** A plain sentence about the failover. */
  readonly says: string
}

export type Line<T> = LineBase & {
  readonly embedded?: Elsewhere
  readonly real?: Elsewhere
  readonly check: (played: T, bed: Bed) => void | Promise<void>
}

/** A line that other test files prove in both worlds. */
export type LineElsewhere = LineBase & { readonly embedded: Elsewhere; readonly real: Elsewhere }

export interface Scene {
  readonly name: string
  readonly cluster?: ClusterKind
  readonly lines: readonly Line<unknown>[]
  readonly play: (bed: Bed) => Promise<unknown>
  /** Worlds that cannot play the whole stage, and why. */
  readonly embedded?: Elsewhere
  readonly real?: Elsewhere
}

export interface SceneOf<T> {
  /** Lower case with dashes, unique: also the namespace. */
  readonly name: string
  /** By default the one that all stages share, with KubeVirt. */
  readonly cluster?: ClusterKind
  readonly embedded?: Elsewhere
  readonly real?: Elsewhere
  readonly play: (bed: Bed) => Promise<T>
  readonly lines: readonly Line<T>[]
}

/** A stage of lines that look at what `play` returns. */
export const stage = <T>(of: SceneOf<T>): Scene => ({
  ...of,
  lines: of.lines.map(({ check, ...line }) => ({ ...line, check: async (played, bed) => check(played as T, bed) })),
})

/** Where the line is shown in that world, when not by its own check there. */
export const elsewhere = (of: Scene, line: Line<unknown>, world: WorldName): Elsewhere | undefined => line[world] ?? of[world]

/** On a machine that has much else to do. */
const longestPlayMs = 600_000

export interface Worlds {
  /** Gives a world for each stage. */
  readonly open: (cluster: ClusterKind | undefined) => Promise<World>
  /** Called after each stage. */
  readonly close: (world: World) => Promise<void>
  /** Each stage has a world of its own, so several are played at a time: `maxConcurrency` of vitest.config.ts. */
  readonly areApart?: boolean
}

/** Registers the tests of one world. */
export function playScenes(
  name: WorldName,
  stages: readonly Scene[],
  worlds: Worlds,
  /** Told how long a stage took: its world and its play, then its cleaning. */
  onOver: (stage: string, playedMs: number, cleanedMs: number) => void = () => {},
): void {
  for (const one of stages) {
    const lines = one.lines.filter((line) => elsewhere(one, line, name) === undefined)
    if (lines.length === 0) continue
    describe(one.name, { concurrent: worlds.areApart === true }, () => {
      let world: World | undefined
      let bed: Bed | undefined
      let played: unknown
      let playedMs = 0
      beforeAll(async () => {
        const startedMs = performance.now()
        world = await worlds.open(one.cluster)
        bed = await openBed(world, one.name)
        played = await one.play(bed)
        playedMs = performance.now() - startedMs
      }, longestPlayMs)
      afterAll(async () => {
        const overMs = performance.now()
        await bed?.close()
        if (world !== undefined) await worlds.close(world)
        onOver(one.name, playedMs, performance.now() - overMs)
      })
      for (const line of lines)
        test(`${line.id}: ${line.says}`, { concurrent: false }, async () => {
          if (bed === undefined) throw new Error('the stage was not played')
          await line.check(played, bed)
        })
    })
  }
}
