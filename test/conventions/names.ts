/** Where tests and what helps them lie, and how they are called. Pure. */
import { posix } from 'node:path'
import { importsOf } from './imports.ts'

const isTest = (file: string): boolean => file.endsWith('.test.ts')
const nameOf = (file: string): string => posix.basename(file)

/** Tests in `src` that are not called after a module beside them: `X.test.ts`, or `X.TOPIC.test.ts` where several tests share a module. */
export function strays(modules: readonly string[]): readonly string[] {
  const known = new Set(modules)
  return modules.filter((file) => isTest(file) && file.startsWith('src/') && !known.has(file.replace(/(?:\.[a-z-]+)?\.test\.ts$/, '.ts')))
}

/** Files of `test`, of helpers and tests alike, that share their name with another one, or with a test beside a module: they are for different things. */
export function namesakes(modules: readonly string[]): readonly string[] {
  const bearers = Map.groupBy(
    modules.filter((file) => file.startsWith('test/') || isTest(file)),
    nameOf,
  )
  return [...bearers.values()].flatMap((files) =>
    files.length > 1 && files.some((file) => file.startsWith('test/')) ? [files.toSorted().join(', ')] : [],
  )
}

const folderOf = (file: string): string => file.split('/').slice(0, 2).join('/')

/** Imports of a file in `test` from another folder of tests that is neither `test/support` nor allowed by the table. */
export function borrowed(file: string, text: string, table: Readonly<Record<string, readonly string[]>>): readonly string[] {
  const own = folderOf(file)
  return importsOf(text).flatMap((specifier) => {
    if (!specifier.startsWith('.')) return []
    const target = posix.join(posix.dirname(file), specifier)
    const isAllowed = [own, 'test/support', ...(table[own] ?? [])].includes(folderOf(target))
    return !target.startsWith('test/') || isAllowed
      ? []
      : [`${file} imports ${target}: what helps two folders of tests lies in test/support`]
  })
}
