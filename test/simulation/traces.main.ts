/**
 * Writes the whole trace of every remembered seed, one file each, so that two commits can be compared byte by byte:
 *   node test/simulation/traces.main.ts FOLDER
 * A commit that changes form alone gives the same files. `diff -r` of two folders says whether it did.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createProgram } from '../../src/cli/options.ts'
import { generate } from '../../src/sim/schedule/generate.ts'
import { runSchedule } from '../../src/sim/run/run.ts'
import { rememberedSeeds } from '../../src/sim/schedule/seeds.ts'

const [folder = ''] = createProgram('traces')
  .description('write the whole trace of every remembered seed')
  .argument('<folder>', 'where to, one file each')
  .parse().args
mkdirSync(folder, { recursive: true })
let bytes = 0
for (const { seed, profile } of rememberedSeeds) {
  const { log, violations } = runSchedule(generate(seed, profile), true)
  const text = [...log, ...violations.map((one) => `FAILED ${one.property}: ${one.text}`), ''].join('\n')
  bytes += text.length
  writeFileSync(join(folder, `${profile}-${seed}.log`), text)
}
process.stdout.write(`${rememberedSeeds.length} traces, ${bytes} characters, in ${folder}\n`)
