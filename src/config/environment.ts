/**
 * Configuration from the environment: every single-valued field is also `ROOMFENCE_` and its path in capitals
 * (`timings.permitMs` is `ROOMFENCE_TIMINGS_PERMIT_MS`), and `${NAME}` inside a text of the file is replaced. Pure.
 */
import type * as z from 'zod/mini'
import { nearest } from './nearest.ts'
import { type Leaf, leavesOf } from './shape.ts'

export type Environment = { readonly [name: string]: string | undefined }

const PREFIX = 'ROOMFENCE_'

export const variableOf = (path: readonly string[]): string =>
  PREFIX + path.map((key) => key.replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()).join('_')

export interface FromEnvironment {
  /** The file's tree with the variables laid over it. */
  readonly tree: unknown
  /** Variable by dotted path: an error names the place where the value came from. */
  readonly sources: ReadonlyMap<string, string>
  readonly problems: readonly { readonly path: string; readonly seen: string; readonly allowed: string }[]
}

function valueOf(leaf: Leaf, text: string): unknown {
  if (leaf.kind === 'number' && /^-?\d+(?:\.\d+)?$/.test(text)) return Number(text)
  if (leaf.kind === 'boolean' && (text === 'true' || text === 'false')) return text === 'true'
  return text
}

type Tree = { [key: string]: unknown }
const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null && !Array.isArray(value)

function withValue(tree: unknown, path: readonly string[], value: unknown): unknown {
  const [key, ...rest] = path
  if (key === undefined) return value
  const base = isTree(tree) ? tree : {}
  return { ...base, [key]: withValue(base[key], rest, value) }
}

const REFERENCE = /\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g

/** `tree` with `${NAME}` replaced in every text; what is not set is a problem, never an empty text. */
function expanded(tree: unknown, environment: Environment, at: string, problems: FromEnvironment['problems'][number][]): unknown {
  if (typeof tree === 'string')
    return tree.replaceAll(REFERENCE, (reference, variable: string) => {
      const value = environment[variable]
      if (value !== undefined && value !== '') return value
      problems.push({ path: at, seen: reference, allowed: `a variable that is set in the environment (${variable} is not)` })
      return reference
    })
  if (Array.isArray(tree)) return tree.map((element, index) => expanded(element, environment, `${at}[${index}]`, problems))
  if (isTree(tree))
    return Object.fromEntries(
      Object.entries(tree).map(([key, value]) => [key, expanded(value, environment, at === '' ? key : `${at}.${key}`, problems)]),
    )
  return tree
}

export function withEnvironment(schema: z.core.$ZodType, tree: unknown, environment: Environment): FromEnvironment {
  const problems: FromEnvironment['problems'][number][] = []
  const leaves = new Map(leavesOf(schema).map((leaf) => [variableOf(leaf.path), leaf]))
  const sources = new Map<string, string>()
  let merged = expanded(tree ?? {}, environment, '', problems)
  for (const [variable, text] of Object.entries(environment)) {
    if (text === undefined || !variable.startsWith(PREFIX)) continue
    const leaf = leaves.get(variable)
    if (leaf) {
      merged = withValue(merged, leaf.path, valueOf(leaf, text))
      sources.set(leaf.path.join('.'), variable)
      continue
    }
    // Other ROOMFENCE_ variables exist for good reasons (Kubernetes sets some for a Service of that name), a near miss does not.
    const meant = nearest(variable, [...leaves.keys()], 2)
    if (meant !== undefined && variable.length > PREFIX.length + 3)
      problems.push({ path: `environment ${variable}`, seen: 'an unknown variable', allowed: `did you mean ${meant}?` })
  }
  return { tree: merged, sources, problems }
}
