/** Typed reading of untrusted JSON from drbdsetup: each failure says which field, what was seen and what is allowed. Pure. */
import { DrbdInputError, type DrbdInputSource } from './model.ts'

const MAXIMUM_TEXT_LENGTH = 64 * 1024 * 1024
const MAXIMUM_NUMBER = 0xffff_ffff

/** One object of the JSON, with the path that leads to it. */
export interface JsonReader {
  readonly has: (key: string) => boolean
  readonly text: (key: string) => string
  readonly boolean: (key: string) => boolean
  /** An integer from 0 to 2^32-1. */
  readonly number: (key: string) => number
  /** A statistic: any finite number, undefined where the key is missing or not a number (drbdsetup may print nan). */
  readonly statistic: (key: string) => number | undefined
  readonly oneOf: <const T extends string>(key: string, allowed: readonly T[]) => T
  readonly object: (key: string) => JsonReader
  /** Missing reads as empty. */
  readonly objects: (key: string) => readonly JsonReader[]
  readonly path: string
}

/** The top-level array of `drbdsetup ... --json`, one reader per resource. */
export function readJsonArray(source: DrbdInputSource, text: string): readonly JsonReader[] {
  if (text.length > MAXIMUM_TEXT_LENGTH)
    throw new DrbdInputError(source, 'the output', `${text.length} characters`, `under ${MAXIMUM_TEXT_LENGTH}`)
  const parsed = parse(source, text)
  if (!Array.isArray(parsed)) throw new DrbdInputError(source, 'the output', text, 'a JSON array of resources')
  return parsed.map((entry: unknown, index) => reader(source, entry, `[${index}]`))
}

function parse(source: DrbdInputSource, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    // C's printf writes nan and inf into statistics, which is no JSON. They can only follow a colon outside of strings.
    const repaired = text.replace(/(":\s*)-?(?:nan|inf)(?=\s*[,}])/g, '$1null')
    if (repaired !== text) return parse(source, repaired)
    throw new DrbdInputError(source, 'the output', text, 'valid JSON (cut short, or not from drbdsetup)', cause)
  }
}

function reader(source: DrbdInputSource, value: unknown, path: string): JsonReader {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new DrbdInputError(source, path, value, 'an object')
  const fields = new Map<string, unknown>(Object.entries(value))
  const refuse = (key: string, allowed: string): never => {
    throw new DrbdInputError(source, `${path}.${key}`, fields.get(key), allowed)
  }
  const text = (key: string): string => {
    const field = fields.get(key)
    return typeof field === 'string' && field !== '' ? field : refuse(key, 'a text')
  }
  return {
    path,
    has: (key) => fields.has(key),
    text,
    boolean: (key) => {
      const field = fields.get(key)
      return typeof field === 'boolean' ? field : refuse(key, 'true or false')
    },
    number: (key) => {
      const field = fields.get(key)
      const isCount = typeof field === 'number' && Number.isInteger(field) && field >= 0 && field <= MAXIMUM_NUMBER
      return isCount ? field : refuse(key, `a whole number from 0 to ${MAXIMUM_NUMBER}`)
    },
    statistic: (key) => {
      const field = fields.get(key)
      return typeof field === 'number' && Number.isFinite(field) ? field : undefined
    },
    oneOf: (key, allowed) => {
      const field = fields.get(key)
      return allowed.find((one) => one === field) ?? refuse(key, `one of ${allowed.join(', ')}`)
    },
    object: (key) => reader(source, fields.get(key), `${path}.${key}`),
    objects: (key) => {
      const field = fields.get(key)
      if (field === undefined) return []
      if (!Array.isArray(field)) return refuse(key, 'an array')
      return field.map((entry: unknown, index) => reader(source, entry, `${path}.${key}[${index}]`))
    },
  }
}

/** Refuses a second thing of one identity: two resources of one name would make every answer ambiguous. */
export function refuseTwins<T>(
  source: DrbdInputSource,
  where: string,
  things: readonly T[],
  identity: (thing: T) => string | number,
): readonly T[] {
  const seen = new Set<string | number>()
  for (const thing of things) {
    const id = identity(thing)
    if (seen.has(id)) throw new DrbdInputError(source, where, `twice ${id}`, 'unique')
    seen.add(id)
  }
  return things
}
