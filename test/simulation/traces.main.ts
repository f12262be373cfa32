/**
 * Writes the whole trace of every remembered seed, one file each, so that two commits can be compared byte by byte:
 *   node test/simulation/traces.main.ts FOLDER            in the tree of either commit
 *   node test/simulation/traces.main.ts NEW --compare OLD  says where NEW differs from OLD with the words of `renamed.ts` put in
 * A commit that changes form alone gives the same files.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createProgram } from '../../src/cli/options.ts'
import { generate } from '../../src/sim/schedule/generate.ts'
import { runSchedule } from '../../src/sim/run/run.ts'
import { rememberedSeeds } from '../../src/sim/schedule/seeds.ts'
import { renamed } from './renamed.ts'

const print = (text: string): void => void process.stdout.write(`${text}\n`)

function write(folder: string): number {
  mkdirSync(folder, { recursive: true })
  let characters = 0
  for (const { seed, profile } of rememberedSeeds) {
    const { log, violations } = runSchedule(generate(seed, profile), true)
    const text = [...log, ...violations.map((one) => `FAILED ${one.property}: ${one.text}`), ''].join('\n')
    characters += text.length
    writeFileSync(join(folder, `${profile}-${seed}.log`), text)
  }
  print(`${rememberedSeeds.length} traces, ${characters} characters, in ${folder}`)
  return 0
}

function compare(before: string, after: string): number {
  const names = readdirSync(before)
  const different = names.filter((name) => {
    const old = readFileSync(join(before, name), 'utf8')
    const expected = renamed.reduce((text, [from, to]) => text.replaceAll(from, to), old)
    return expected !== readFileSync(join(after, name), 'utf8')
  })
  for (const name of different) print(`${name} differs by more than its words`)
  print(`${names.length - different.length} of ${names.length} traces differ by the words of renamed.ts alone`)
  return different.length === 0 ? 0 : 1
}

const { args, opts } = (() => {
  const program = createProgram('traces')
    .description('write the whole trace of every remembered seed, or compare two folders of them')
    .argument('<folder>', 'where to, one file each')
    .option('--compare <old>', 'compare the folder with this one of before, in the words of renamed.ts')
    .parse()
  return { args: program.args, opts: program.opts<{ compare?: string }>() }
})()
const [folder = ''] = args
process.exitCode = opts.compare === undefined ? write(folder) : compare(opts.compare, folder)
