/** Walking a schema: which field stands at a path, and which leaves there are. Pure. */
import type * as z from 'zod/mini'

type Path = readonly PropertyKey[]

/** The schema without its default or optionality, and what that default is. */
export function unwrap(schema: z.core.$ZodType): {
  readonly inner: z.core.$ZodType
  readonly defaultValue?: unknown
  readonly isOptional: boolean
} {
  let inner = schema as z.core.$ZodTypes
  let isOptional = false
  let defaults: { defaultValue?: unknown } = {}
  for (;;) {
    const { def } = inner._zod
    if (def.type === 'default' || def.type === 'prefault') defaults = { defaultValue: def.defaultValue }
    else if (def.type === 'optional') isOptional = true
    else return { inner, isOptional, ...defaults }
    inner = def.innerType as z.core.$ZodTypes
  }
}

export interface Child {
  readonly key: string
  readonly schema: z.core.$ZodType
}

/** Fields of a mapping; of a choice of mappings those of every choice. */
export function childrenOf(schema: z.core.$ZodType): readonly Child[] {
  const { def } = (unwrap(schema).inner as z.core.$ZodTypes)._zod
  if (def.type === 'object') return Object.entries(def.shape).map(([key, child]) => ({ key, schema: child }))
  if (def.type === 'union') {
    const children = new Map<string, Child>()
    for (const option of def.options) for (const child of childrenOf(option)) if (!children.has(child.key)) children.set(child.key, child)
    return [...children.values()]
  }
  return []
}

/** What every element of a list or value of a map is; undefined for anything else. */
export function elementOf(schema: z.core.$ZodType): z.core.$ZodType | undefined {
  const { def } = (unwrap(schema).inner as z.core.$ZodTypes)._zod
  if (def.type === 'array') return def.element
  if (def.type === 'record') return def.valueType
  return undefined
}

/** The schema of the field at `path`; undefined where the path leaves the schema. */
export function fieldAt(schema: z.core.$ZodType, path: Path): z.core.$ZodType | undefined {
  let at: z.core.$ZodType | undefined = schema
  for (const key of path) {
    if (at === undefined) return undefined
    at = elementOf(at) ?? childrenOf(at).find((child) => child.key === key)?.schema
  }
  return at
}

type LeafKind = 'text' | 'number' | 'boolean'

/** A field that holds one value and can come from the environment. */
export interface Leaf {
  readonly path: readonly string[]
  readonly kind: LeafKind
}

function leafKind(schema: z.core.$ZodType): LeafKind | undefined {
  const { type } = (unwrap(schema).inner as z.core.$ZodTypes)._zod.def
  if (type === 'string' || type === 'enum' || type === 'literal') return 'text'
  return type === 'number' || type === 'boolean' ? type : undefined
}

export function leavesOf(schema: z.core.$ZodType, path: readonly string[] = []): readonly Leaf[] {
  const kind = leafKind(schema)
  if (kind) return [{ path, kind }]
  return childrenOf(schema).flatMap((child) => leavesOf(child.schema, [...path, child.key]))
}

/** `paths[0].listenPort` */
export function pathText(path: Path): string {
  let text = ''
  for (const key of path) {
    const name = String(key)
    text += typeof key === 'number' ? `[${name}]` : text === '' ? name : `.${name}`
  }
  return text === '' ? '(whole file)' : text
}

export function valueAt(tree: unknown, path: Path): unknown {
  let at = tree
  for (const key of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined
    at = (at as { readonly [key: PropertyKey]: unknown })[key]
  }
  return at
}
