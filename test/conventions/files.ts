/** The files of the repository, as paths from its root. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

export const textOf = (file: string): string => readFileSync(join(root, file), 'utf8')

/** All TypeScript files below `folder`, also those that are not committed yet. */
export function modulesIn(folder: string): readonly string[] {
  const entries = readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .toSorted()
}

/** What git has; in a copy without git, everything but what is built or installed. */
export function committedFiles(): readonly string[] {
  const built = /(?:^|\/)(?:\.git|node_modules|dist|coverage)\//
  const files = existsSync(join(root, '.git'))
    ? execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' }).split('\0')
    : readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => !built.test(file))
  return files.filter((file) => file !== '' && existsSync(join(root, file)) && statSync(join(root, file)).isFile())
}
