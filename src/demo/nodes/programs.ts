/** Plain-JavaScript copies of the demo's small programs: without types to strip they start in half the time and with 20 MB less, and there are dozens. */
import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import * as nodeModule from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

const demo = join(dirname(fileURLToPath(import.meta.url)), '..')
const folders = ['storage', 'vm', 'nodes']

/** Where the copies of the programs lie. */
export interface Programs {
  readonly supervisor: string
  readonly kernel: string
  readonly events2: string
  readonly vm: string
}

function programsIn(directory: string): Programs {
  return {
    supervisor: join(directory, 'nodes', 'supervisor.mjs'),
    kernel: join(directory, 'storage', 'kernel.mjs'),
    events2: join(directory, 'storage', 'events2.mjs'),
    vm: join(directory, 'vm', 'vm.mjs'),
  }
}

function copyPrograms(target: string): void {
  for (const folder of folders) {
    mkdirSync(join(target, folder), { recursive: true })
    for (const name of readdirSync(join(demo, folder))) {
      if (!name.endsWith('.ts') || name.endsWith('.test.ts')) continue
      const stripped = nodeModule.stripTypeScriptTypes(readFileSync(join(demo, folder, name), 'utf8'))
      const plain = stripped.replaceAll(/(from\s+'\.[^']*)\.ts'/g, "$1.mjs'")
      writeFileSync(join(target, folder, name.replace(/\.ts$/, '.mjs')), plain)
    }
  }
}

/** Makes the copies in a child, which keeps Node's warning about its own type stripper away from the demo's output. */
export async function preparePrograms(directory: string): Promise<Programs> {
  await promisify(execFile)(process.execPath, ['--disable-warning=ExperimentalWarning', fileURLToPath(import.meta.url), directory])
  return programsIn(directory)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href && process.argv[2] !== undefined) copyPrograms(process.argv[2])
