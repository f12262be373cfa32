/** Sources without one of their rules: what both lists of mutations, of the protocol and of the failover's lines, have in common. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Edit {
  /** Below the root that the list is about. */
  readonly file: string
  /** Occurs exactly once. */
  readonly find: string
  readonly replace: string
}

export const edit = (file: string, find: string, replace: string): Edit => ({ file, find, replace })

/**
 * The edited files by their path, as they are after all edits.
 *
 * @throws when an edit's text is not found exactly once: the list has to follow the code.
 */
export function editedFiles(root: string, edits: readonly Edit[]): ReadonlyMap<string, string> {
  const edited = new Map<string, string>()
  for (const { file, find, replace } of edits) {
    const path = join(root, file)
    const text = edited.get(path) ?? readFileSync(path, 'utf8')
    const count = text.split(find).length - 1
    if (count !== 1) throw new Error(`${file} has ${count} places that read ${JSON.stringify(find)}, but must have exactly one`)
    edited.set(
      path,
      text.replace(find, () => replace),
    )
  }
  return edited
}
