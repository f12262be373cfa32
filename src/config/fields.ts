/** The kinds of field a configuration is made of; each remembers its meaning, so that errors and docs/configuration.md say it. Pure. */
import * as z from 'zod/mini'

export interface Meaning {
  /** What the field does, with its unit. */
  readonly text: string
  /** What may stand there, in words. */
  readonly allowed: string
}

const meanings = new WeakMap<z.core.$ZodType, Meaning>()

export const meaningOf = (schema: z.core.$ZodType): Meaning | undefined => meanings.get(schema)

/** `schema`, with its meaning noted. */
export function field<S extends z.core.$ZodType>(schema: S, text: string, allowed: string): S {
  meanings.set(schema, { text, allowed })
  return schema
}

/** A group of fields; without any of them in the file, all have their defaults. */
export const group = <S extends z.core.$ZodShape>(shape: S, text: string) =>
  field(z.prefault(z.strictObject(shape), {} as never), text, 'a mapping of the fields listed for it')

const LONGEST_MS = 3_600_000

export const milliseconds = (defaultMs: number, text: string, minimumMs = 1, maximumMs = LONGEST_MS) =>
  field(
    z._default(z.int().check(z.minimum(minimumMs), z.maximum(maximumMs)), defaultMs),
    `${text} Milliseconds.`,
    `a whole number of milliseconds from ${minimumMs} to ${maximumMs}`,
  )

export const whole = (defaultValue: number, text: string, minimum: number, maximum: number) =>
  field(
    z._default(z.int().check(z.minimum(minimum), z.maximum(maximum)), defaultValue),
    text,
    `a whole number from ${minimum} to ${maximum}`,
  )

/** A share or rate: a number in `from` to `to`, both allowed. */
export const share = (defaultValue: number, text: string, from: number, to: number) =>
  field(z._default(z.number().check(z.minimum(from), z.maximum(to)), defaultValue), text, `a number from ${from} to ${to}`)

export const yesOrNo = (isYesByDefault: boolean, text: string) => field(z._default(z.boolean(), isYesByDefault), text, 'true or false')

export const oneOf = <const T extends readonly [string, ...string[]]>(values: T, defaultValue: T[number], text: string) =>
  field(z._default(z.enum(values), defaultValue as never), text, `one of ${values.join(', ')}`)

const HOST = /^(?=.{1,253}$)(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9]+)?)$/
const HOST_WORDS = 'an IP address (preferred: a name is looked up on every packet) or a host name'

export const host = (text: string) => field(z.string().check(z.regex(HOST)), text, HOST_WORDS)
export const hostOr = (defaultHost: string, text: string) =>
  field(z._default(z.string().check(z.regex(HOST)), defaultHost), text, HOST_WORDS)

const PORT_WORDS = 'a port number from 1 to 65535'
const portNumber = () => z.int().check(z.minimum(1), z.maximum(65_535))
export const port = (text: string) => field(portNumber(), text, PORT_WORDS)
export const portOr = (defaultPort: number, text: string) => field(z._default(portNumber(), defaultPort), text, PORT_WORDS)

const ABSOLUTE = /^\/[^\0]*$/
const PATH_WORDS = 'an absolute path'
export const file = (text: string) => field(z.string().check(z.regex(ABSOLUTE)), text, PATH_WORDS)
export const fileOr = (defaultFile: string, text: string) =>
  field(z._default(z.string().check(z.regex(ABSOLUTE)), defaultFile), text, PATH_WORDS)
/** A file that may be left out. */
export const optionalFile = (text: string) => field(z.exactOptional(z.string().check(z.regex(ABSOLUTE))), text, PATH_WORDS)

/** Kubernetes object names: RFC 1123 subdomain. */
const NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/
const NAME_WORDS = 'lower-case letters, digits, "-" and ".", 1 to 253 of them, as Kubernetes names are'
export const name = (text: string) => field(z.string().check(z.regex(NAME)), text, NAME_WORDS)
export const nameOr = (defaultName: string, text: string) =>
  field(z._default(z.string().check(z.regex(NAME)), defaultName), text, NAME_WORDS)
export const isNodeName = (value: string): boolean => NAME.test(value)

/** A heartbeat path's name travels in every packet. */
const PATH_NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/
export const pathName = (text: string) =>
  field(z.string().check(z.regex(PATH_NAME)), text, 'lower-case letters, digits and "-", 1 to 32 of them')

export const textOr = (pattern: RegExp, defaultText: string, text: string, allowed: string) =>
  field(z._default(z.string().check(z.regex(pattern)), defaultText), text, allowed)
