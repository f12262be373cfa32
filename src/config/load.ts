/** Reading a configuration: file and environment in, frozen typed configuration out, or one error that names everything wrong. */
import { readFileSync } from 'node:fs'
import { parseDocument } from 'yaml'
import type * as z from 'zod/mini'
import { type Environment, withEnvironment } from './environment.ts'
import { ConfigurationError, type Problem, shown } from './errors.ts'
import { meaningOf } from './fields.ts'
import { nearest } from './nearest.ts'
import { brokenRules } from './rules.ts'
import { type Configuration, configurationSchema, type WitnessConfiguration, witnessSchema } from './schema.ts'
import { childrenOf, fieldAt, pathText, unwrap, valueAt } from './shape.ts'

function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    Object.values(value).forEach(frozen)
  }
  return value
}

function allowedAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): string {
  const at = fieldAt(schema, path)
  if (!at) return 'nothing'
  const meaning = meaningOf(at) ?? meaningOf(unwrap(at).inner)
  return meaning?.allowed ?? 'a mapping of the fields in docs/configuration.md'
}

function problemsOf(schema: z.core.$ZodType, issue: z.core.$ZodIssue, tree: unknown, origin: (path: string) => string): readonly Problem[] {
  const path = pathText(issue.path)
  if (issue.code === 'unrecognized_keys') {
    const at = fieldAt(schema, issue.path)
    const known = at ? childrenOf(at).map((child) => child.key) : []
    return issue.keys.map((key) => {
      const meant = nearest(key, known)
      const field = pathText([...issue.path, key])
      return {
        path: origin(field),
        seen: 'an unknown field',
        allowed: meant === undefined ? known.join(', ') : `did you mean ${meant}? Known here: ${known.join(', ')}`,
      }
    })
  }
  if (issue.code === 'invalid_union' && 'options' in issue && Array.isArray(issue.options))
    return [{ path: origin(path), seen: shown(path, valueAt(tree, issue.path)), allowed: `one of ${issue.options.join(', ')}` }]
  return [{ path: origin(path), seen: shown(path, valueAt(tree, issue.path)), allowed: allowedAt(schema, issue.path) }]
}

/** YAML 1.2, one document, no repeated keys. Error texts carry a place, never the line itself: it may hold a secret. */
function parsedYaml(text: string, origin: string): unknown {
  const document = parseDocument(text, { uniqueKeys: true, prettyErrors: true, version: '1.2' })
  const [error] = [...document.errors, ...document.warnings]
  if (error) {
    const place = error.linePos ? `line ${error.linePos[0].line}, column ${error.linePos[0].col}` : 'the file'
    throw new ConfigurationError('yaml', origin, [{ path: place, seen: error.code, allowed: 'YAML 1.2, one document, each key once' }])
  }
  try {
    return document.toJS({ maxAliasCount: 20 }) ?? {}
  } catch {
    throw new ConfigurationError('yaml', origin, [
      { path: 'the file', seen: 'a bad alias', allowed: 'aliases (*name) of anchors (&name) before them, at most 20' },
    ])
  }
}

function checked<S extends z.ZodMiniType>(schema: S, text: string, environment: Environment, origin: string): z.output<S> {
  const parsed = parsedYaml(text, origin)
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new ConfigurationError('fields', origin, [{ path: '(whole file)', seen: shown('', parsed), allowed: 'a mapping of fields' }])
  const { tree, sources, problems } = withEnvironment(schema, parsed, environment)
  const from = (path: string): string => {
    const variable = sources.get(path)
    return variable === undefined ? path : `${path} (environment ${variable})`
  }
  const result = schema.safeParse(tree)
  // Values are shown as they were written, so that what ${NAME} stands for stays out of logs.
  const asWritten = (issue: z.core.$ZodIssue) => (sources.has(pathText(issue.path)) ? tree : parsed)
  const fieldProblems = result.success ? [] : result.error.issues.flatMap((issue) => problemsOf(schema, issue, asWritten(issue), from))
  const all = [...problems, ...fieldProblems]
  if (all.length > 0 || !result.success) throw new ConfigurationError('fields', origin, all)
  return frozen(result.data)
}

/**
 * The agent's configuration from the text of its YAML file and the environment, which wins.
 *
 * @throws ConfigurationError with every problem found.
 */
export function parseConfiguration(text: string, environment: Environment = {}, origin = 'configuration'): Configuration {
  const configuration: Configuration = checked(configurationSchema, text, environment, origin)
  const problems = brokenRules(configuration)
  if (problems.length > 0) throw new ConfigurationError('fields', origin, problems)
  return configuration
}

export function parseWitnessConfiguration(
  text: string,
  environment: Environment = {},
  origin = 'witness configuration',
): WitnessConfiguration {
  return checked(witnessSchema, text, environment, origin)
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause)
    throw new ConfigurationError('file', file, [{ path: file, seen: code, allowed: 'a YAML file that this user may read' }], cause)
  }
}

/** @throws ConfigurationError */
export const loadConfiguration = (file: string, environment: Environment): Configuration =>
  parseConfiguration(readText(file), environment, file)

/** @throws ConfigurationError */
export const loadWitnessConfiguration = (file: string, environment: Environment): WitnessConfiguration =>
  parseWitnessConfiguration(readText(file), environment, file)
