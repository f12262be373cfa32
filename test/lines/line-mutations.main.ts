/**
 * Plays the stage of each line without the line's rule, by hand: `node test/lines/line-mutations.main.ts [line or stage ...]`, all of them by default, which
 * takes twenty minutes of an idle machine. The code is changed in copies of the tree, never where it is; `COPIES` is how many stages are played at a time.
 */
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createProgram } from '../../src/cli/options.ts'
import { editedFiles } from '../support/mutation.ts'
import { stages } from './all.ts'
import { type LineMutation, mutations } from './line-mutations.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
/** A play waits far more than it computes. */
const copies = Number(process.env['COPIES'] ?? 2)
const longestPlayMs = 300_000

/** What is read of the test runner's report. */
interface Report {
  readonly testResults: readonly {
    readonly assertionResults: readonly { readonly title: string; readonly status: string; readonly failureMessages: readonly string[] }[]
  }[]
}

interface Played {
  readonly passed: number
  /** Lines whose own check failed, each with the first words of why. */
  readonly failed: ReadonlyMap<string, string>
  /** The first error that was told; the play's, when no line was checked. */
  readonly error: string
}

const firstLine = (text = ''): string => (text.split('\n')[0] ?? '').slice(0, 200)

async function playIn(copy: string, stage: string): Promise<Played> {
  const file = join(copy, 'report.json')
  rmSync(file, { force: true })
  const what = ['run', '--project', 'unit', 'test/lines/lines-embedded.test.ts', '-t', `API server( >)? ${stage} `]
  const args = ['node_modules/vitest/vitest.mjs', ...what, '--reporter=default', '--reporter=json', `--outputFile=${file}`]
  const options = { cwd: copy, env: { ...process.env, NO_COLOR: '1' }, timeout: longestPlayMs, maxBuffer: 64 * 1024 * 1024 }
  const said = await new Promise<string>((resolve) => {
    execFile(process.execPath, args, options, (_, stdout, stderr) => {
      resolve(stdout + stderr)
    })
  })
  const report: Report = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Report) : { testResults: [] }
  const lines = report.testResults.flatMap(({ assertionResults }) => assertionResults)
  const failed = lines.filter(({ status }) => status === 'failed')
  return {
    passed: lines.filter(({ status }) => status === 'passed').length,
    failed: new Map(failed.map(({ title, failureMessages }) => [title.split(':')[0] ?? '', firstLine(failureMessages[0])])),
    error: firstLine(/^\w*Error: .*/m.exec(said)?.[0]),
  }
}

function makeCopy(): string {
  const copy = mkdtempSync(join(tmpdir(), 'roomfence-lines-'))
  for (const name of ['src', 'test', 'deploy', 'package.json', 'tsconfig.json', 'vitest.config.ts'])
    cpSync(join(root, name), join(copy, name), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  return copy
}

async function playMutated(copy: string, edits: readonly LineMutation[], stage: string): Promise<Played> {
  const edited = editedFiles(copy, edits)
  const before = [...edited.keys()].map((path) => [path, readFileSync(path, 'utf8')] as const)
  for (const [path, text] of edited) writeFileSync(path, text)
  const played = await playIn(copy, stage)
  for (const [path, text] of before) writeFileSync(path, text)
  return played
}

/** Why the line is red; undefined when it is not, or for a reason that is not its own. */
function redness(line: string, edits: readonly LineMutation[], { passed, failed, error }: Played): string | undefined {
  const isAwaited = passed + failed.size === 0 && edits.some(({ awaited }) => awaited !== undefined && error.includes(awaited))
  return failed.get(line) ?? (isAwaited ? `by its play: ${error}` : undefined)
}

const stageOf = (line: string): string => stages.find(({ lines }) => lines.some(({ id }) => id === line))?.name ?? ''

const { args: asked } = createProgram('mutations')
  .description('play the stage of each line without the rule of the line')
  .argument('[names...]', 'lines or stages; by default all of them')
  .parse()
const isAsked = ({ line }: LineMutation): boolean => asked.length === 0 || asked.includes(line) || asked.includes(stageOf(line))
const queue = [...Map.groupBy(mutations.filter(isAsked), ({ line }) => line)]
const total = queue.length
const notRed: string[] = []

async function work(copy: string): Promise<void> {
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const [line, edits] = next
    const played = await playMutated(copy, edits, stageOf(line))
    const red = redness(line, edits, played)
    if (red === undefined) notRed.push(line)
    const others = [...played.failed.keys()].filter((id) => id !== line).join(', ')
    const verdict = red === undefined ? `NOT RED (${String(played.passed)} lines passed) ${played.error}` : `red ${red}`
    process.stdout.write(`${line}: ${verdict}${others === '' ? '' : `; also red: ${others}`}\n`)
  }
}

const trees = Array.from({ length: Math.min(copies, total) }, makeCopy)
try {
  await Promise.all(trees.map(work))
} finally {
  for (const copy of trees) rmSync(copy, { recursive: true })
}
process.stdout.write(
  `${String(total - notRed.length)} of ${String(total)} lines are red without their rule${notRed.map((line) => `\n  not ${line}`).join('')}\n`,
)
process.exitCode = notRed.length === 0 && total > 0 ? 0 : 1
