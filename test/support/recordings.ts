/** Where the recordings of real programs are, which are not part of the repository: tests on them are skipped, loudly, where there are none. */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * The folder `recordings/<name>` in `ROOMFENCE_SHARED`, or in a `shared` folder beside this repository or above; undefined where there is none.
 *
 * @throws in CI: there a skipped test is a failed one
 */
export function findRecordings(name: string): string | undefined {
  const named = process.env['ROOMFENCE_SHARED']
  const folders: string[] = named === undefined ? [] : [named]
  if (named === undefined) for (let at = import.meta.dirname; at !== dirname(at); at = dirname(at)) folders.push(join(at, 'shared'))
  const found = folders.map((folder) => join(folder, 'recordings', name)).find((path) => existsSync(path))
  if (found !== undefined) return found
  const message = `no recordings/${name} found: set ROOMFENCE_SHARED to the folder that holds recordings/`
  if (process.env['CI'] === 'true') throw new Error(message)
  console.warn(`SKIPPED: ${message}`)
  return undefined
}
