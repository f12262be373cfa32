/** Which modules a file imports, and which of them the table of conventions does not allow. Pure. */
import { posix } from 'node:path'
import { mayImport, nodeModulesOf, testsMayImport } from './table.ts'

const IMPORTS = /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]|^\s*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm

/** As they are written: `./x.ts`, `node:fs`, `zod`; types too, for a type leans on a module as much as a call does. */
export const importsOf = (text: string): readonly string[] =>
  [...text.matchAll(IMPORTS)].map((match) => match[1] ?? match[2] ?? match[3] ?? '')

const isInside = (file: string, folder: string): boolean => file === folder || file.startsWith(`${folder}/`)

/** The longest name in the table that `file` is in. */
function folderOf(file: string, folders: Readonly<Record<string, unknown>>): string | undefined {
  return Object.keys(folders)
    .filter((folder) => isInside(file, folder))
    .toSorted((a, b) => b.length - a.length)[0]
}

/** Why `file` may not import what it imports; paths are those of the repository. */
export function wrongImports(file: string, text: string): readonly string[] {
  const folder = folderOf(file, mayImport)
  if (folder === undefined) return [`${file}: its folder is not in the table of conventions (test/conventions/table.ts)`]
  const isTest = file.endsWith('.test.ts')
  const allowed = [...(mayImport[folder] ?? []), ...(isTest ? testsMayImport : [])]
  return importsOf(text).flatMap((specifier) => {
    if (specifier.startsWith('.')) {
      const target = posix.join(posix.dirname(file), specifier)
      const home = target.startsWith('src/') ? folderOf(target, mayImport) : target
      if (home === folder || allowed.some((one) => home === one || (isTest && isInside(target, one)))) return []
      return [`${file} imports ${target}, but ${folder} may import only ${allowed.join(', ') || 'itself'}`]
    }
    if (!specifier.startsWith('node:') || isTest) return []
    const own = nodeModulesOf[folderOf(file, nodeModulesOf) ?? ''] ?? []
    if (own.includes('*') || own.includes(specifier.slice('node:'.length))) return []
    return [`${file} imports ${specifier}, but ${folder} uses ${own.length === 0 ? 'nothing of Node' : own.join(', ')}`]
  })
}

/** Folders that reach themselves through the table: then there is no direction. */
export function circles(table: Readonly<Record<string, readonly string[]>>): readonly string[] {
  const reached = (from: string): ReadonlySet<string> => {
    const seen = new Set<string>()
    const walk = (folder: string): void => {
      for (const next of table[folder] ?? []) {
        if (seen.has(next)) continue
        seen.add(next)
        walk(next)
      }
    }
    walk(from)
    return seen
  }
  return Object.keys(table).filter((folder) => reached(folder).has(folder))
}
