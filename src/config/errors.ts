/** What is wrong with a configuration, all of it at once. */

export interface Problem {
  /** `timings.permitMs`, `paths[0].name`; with the variable where the value came from the environment. */
  readonly path: string
  /** The value, or a word on it where it may be a secret. */
  readonly seen: string
  readonly allowed: string
}

/** `file`: cannot be read; `yaml`: is no YAML; `fields`: has wrong values. */
export type ConfigurationErrorCode = 'file' | 'yaml' | 'fields'

export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError'
  readonly code: ConfigurationErrorCode
  readonly problems: readonly Problem[]

  constructor(code: ConfigurationErrorCode, origin: string, problems: readonly Problem[], cause?: unknown) {
    const lines = problems.map(({ path, seen, allowed }) => `  ${path}: saw ${seen}; allowed: ${allowed}`)
    super(`${origin}: ${problems.length === 1 ? 'one problem' : `${problems.length} problems`}\n${lines.join('\n')}`, { cause })
    this.code = code
    this.problems = problems
  }
}

/** Fields whose wrong value may be a secret that was put there by mistake. */
const SECRET = /key|token|secret|password|credential/i
const LONGEST = 80

export function shown(path: string, value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (SECRET.test(path))
    return typeof value === 'string' ? `a text of ${value.length} characters (not shown)` : `a ${typeof value} (not shown)`
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === 'object') return 'a mapping'
  const text = JSON.stringify(typeof value === 'string' ? value.replace(/\/\/[^/@]*@/, '//(not shown)@') : value) ?? typeof value
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}… (${text.length} characters)` : text
}
