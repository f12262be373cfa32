/** What the image is made of, and the one name that stands for all of it. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../../', import.meta.url))

/** .dockerignore leaves everything out and names what is let in, so that one list serves both. */
const letIn = (): readonly string[] =>
  readFileSync(join(root, '.dockerignore'), 'utf8')
    .split('\n')
    .flatMap((line) => (line.startsWith('!') ? [line.slice(1)] : []))

const filesOf = (path: string): readonly string[] => {
  const full = join(root, path)
  if (!statSync(full).isDirectory()) return [path]
  return readdirSync(full, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.test.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
}

/** The Dockerfile, all that it may copy but tests, and how the base is made. */
export function imageHash(): string {
  const here = relative(root, import.meta.dirname)
  const files = ['Dockerfile', '.dockerignore', ...letIn(), `${here}/base.ts`].flatMap(filesOf).toSorted()
  const hash = createHash('sha256')
  for (const file of files) {
    const text = readFileSync(join(root, file))
    hash.update(`${file} ${text.length}\n`).update(text)
  }
  return hash.digest('hex').slice(0, 12)
}
