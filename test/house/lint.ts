/** What the linter is told, and what it says of one rule without its exceptions. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { textOf } from './files.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

interface Configuration {
  readonly plugins: readonly string[]
  readonly rules: Readonly<Record<string, unknown>>
  readonly overrides: readonly { readonly files: readonly string[]; readonly rules: Readonly<Record<string, unknown>> }[]
}

/** Comments stand on lines of their own. */
export const configuration = (): Configuration => JSON.parse(textOf('.oxlintrc.json').replaceAll(/^\s*\/\/.*$/gm, '')) as Configuration

/** Files of the product for which a rule is off, by name. */
export const exceptionsOf = (rule: string): readonly string[] =>
  configuration()
    .overrides.filter(({ rules }) => rules[rule] === 'off')
    .flatMap(({ files }) => files)
    .filter((file) => file.startsWith('src/') && !file.includes('*'))

/** Files of the product that break a rule, whatever is excepted from it. */
export function breakersOf(rule: string): readonly string[] {
  const { plugins, rules } = configuration()
  const folder = mkdtempSync(join(tmpdir(), 'roomfence-lint-'))
  try {
    const path = join(folder, 'rule.json')
    writeFileSync(path, JSON.stringify({ plugins, categories: { correctness: 'off' }, rules: { [rule]: rules[rule] } }))
    const args = ['--config', path, '--format', 'unix', 'src']
    const said = run(join(root, 'node_modules/.bin/oxlint'), args)
    const files = [...said.matchAll(/^(src\/[^:]+):\d+:\d+: /gm)].map(([, file = '']) => file)
    return [...new Set(files)].filter((file) => !file.endsWith('.test.ts')).toSorted()
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Whatever it exits with: a rule that is broken is no failure here. */
function run(program: string, args: readonly string[]): string {
  try {
    return execFileSync(program, args, { cwd: root, encoding: 'utf8' })
  } catch (error) {
    const { status, stdout } = error as { readonly status?: number; readonly stdout?: string }
    if (status !== 1 || stdout === undefined) throw error
    return stdout
  }
}
