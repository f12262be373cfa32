/** Builds the simulator with a few lines of its sources changed, in memory, and runs seeds until a property fails. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import type { explain } from '../../src/sim/sweep/explain.ts'
import type { generate } from '../../src/sim/schedule/generate.ts'
import type { runSchedule } from '../../src/sim/run/run.ts'
import type { Profile, Schedule } from '../../src/sim/schedule/schedule.ts'
import type { shrink } from '../../src/sim/sweep/shrink.ts'
import type { Property } from '../../src/sim/world/observations.ts'
import { type Edit, edit, editedFiles } from '../support/mutation.ts'

/** The code without the eyes that it keeps on itself: what a missing rule does to the properties is to be seen, and not that it is noticed before. */
export const withoutInvariants: readonly Edit[] = [
  edit('protocol/step.ts', '  const before = beforeStep(state, input)\n', ''),
  edit('protocol/step.ts', 'brokenInvariant(before, state, input, out, nowMs)', 'undefined'),
]

export interface Mutation {
  readonly name: string
  readonly edits: readonly Edit[]
  readonly caughtBy: Property
  /** The first hostile seed, counted from 1, that catches it: so many ordinary schedules it took. The search is described in docs/simulation.md. */
  readonly firstSeed: number
}

export interface Simulator {
  readonly generate: typeof generate
  readonly runSchedule: typeof runSchedule
  readonly shrink: typeof shrink
  readonly explain: typeof explain
}

const source = fileURLToPath(new URL('../../src/', import.meta.url))

/** @throws when an edit's text is not found exactly once. */
export async function buildMutant(edits: readonly Edit[]): Promise<Simulator> {
  const changed = editedFiles(source, edits)
  const result = await build({
    stdin: {
      contents:
        ['sweep/explain', 'schedule/generate', 'sweep/shrink']
          .map((path) => `export { ${basename(path)} } from './sim/${path}.ts'\n`)
          .join('') + "export { runSchedule } from './sim/run/run.ts'",
      resolveDir: source,
      loader: 'ts',
    },
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    write: false,
    logLevel: 'silent',
    plugins: [
      {
        name: 'mutation',
        setup: (builder) => {
          builder.onLoad({ filter: /\.ts$/ }, ({ path }) => {
            const contents = changed.get(path)
            return contents === undefined ? undefined : { contents, loader: 'ts' }
          })
        },
      },
    ],
  })
  const folder = await mkdtemp(join(tmpdir(), 'roomfence-mutant-'))
  const path = join(folder, 'mutant.mjs')
  await writeFile(path, result.outputFiles[0]?.contents ?? new Uint8Array())
  try {
    return (await import(pathToFileURL(path).href)) as Simulator
  } finally {
    await rm(folder, { recursive: true })
  }
}

export interface Caught {
  readonly seed: number
  readonly property: string
  readonly text: string
}

/** The first of the seeds that fails; a crash of the mutant counts as caught. */
export function firstFailure(
  simulator: Simulator,
  profile: Profile,
  seeds: Iterable<number>,
  change: (schedule: Schedule) => Schedule = (schedule) => schedule,
): Caught | undefined {
  for (const seed of seeds) {
    try {
      const [violation] = simulator.runSchedule(change(simulator.generate(seed, profile))).violations
      if (violation) return { seed, property: violation.property, text: violation.text }
    } catch (error) {
      return { seed, property: 'crash', text: String(error) }
    }
  }
  return undefined
}
