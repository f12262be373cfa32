/** What the linter is told, and what it would say without its exceptions. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, matchesGlob } from 'node:path'
import { fileURLToPath } from 'node:url'
import { textOf } from './files.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

export interface Configuration {
  readonly plugins: readonly string[]
  readonly jsPlugins: readonly string[]
  readonly rules: Readonly<Record<string, unknown>>
  readonly overrides: readonly { readonly files: readonly string[]; readonly rules: Readonly<Record<string, unknown>> }[]
}

/** A rule that is off for the files that a name or a pattern says. */
export interface Exception {
  readonly rule: string
  readonly files: string
}

/** Comments stand on lines of their own. */
export const configuration = (): Configuration => JSON.parse(textOf('.oxlintrc.json').replaceAll(/^\s*\/\/.*$/gm, '')) as Configuration

export const exceptionsOf = ({ overrides }: Pick<Configuration, 'overrides'>): readonly Exception[] =>
  overrides.flatMap(({ files, rules }) =>
    Object.keys(rules)
      .filter((rule) => rules[rule] === 'off')
      .flatMap((rule) => files.map((file) => ({ rule, files: file }))),
  )

/** Those that none of the breakers needs. */
export const idle = (exceptions: readonly Exception[], breakers: readonly Exception[]): readonly Exception[] =>
  exceptions.filter(({ rule, files }) => !breakers.some((one) => one.rule === rule && matchesGlob(one.files, files)))

/** Which files break which of the rules, whatever is excepted from them. */
export function breakersOf({ plugins, jsPlugins, rules }: Configuration, names: readonly string[]): readonly Exception[] {
  const folder = mkdtempSync(join(tmpdir(), 'roomfence-lint-'))
  try {
    const path = join(folder, 'rules.json')
    const asked = Object.fromEntries(names.map((name) => [name, rules[name]]))
    const own = jsPlugins.map((plugin) => join(root, plugin))
    writeFileSync(path, JSON.stringify({ plugins, jsPlugins: own, categories: { correctness: 'off' }, rules: asked }))
    const said = run(join(root, 'node_modules/.bin/oxlint'), ['--config', path, '--format', 'unix', 'src', 'test', 'deploy'])
    const found = [...said.matchAll(/^([^:\s]+):\d+:\d+: .* \[\w+\/([\w-]+)\(([\w-]+)\)\]$/gm)]
    return found.map(([, files = '', plugin = '', name = '']) => ({ rule: `${plugin}/${name}`, files }))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Whatever it exits with: a rule that is broken is no failure here. */
function run(program: string, args: readonly string[]): string {
  try {
    return execFileSync(program, args, { cwd: root, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 })
  } catch (error) {
    const { status, stdout } = error as { readonly status?: number; readonly stdout?: string }
    if (status !== 1 || stdout === undefined) throw error
    return stdout
  }
}
