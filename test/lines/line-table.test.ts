/** docs/failover-test-matrix.md shows the lines that there are, as they are tested. */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { stages } from './all.ts'
import { disagreements, readTable, type Row, rowsOf, untestedIn, withLines } from './line-table.ts'
import { linesElsewhere } from './tested-elsewhere.ts'
import type { WorldName } from './world.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const file = join(root, 'docs/failover-test-matrix.md')
const page = readFileSync(file, 'utf8')
const rows = rowsOf(stages, linesElsewhere)
const suites: Readonly<Record<WorldName, { readonly project: string; readonly file: string }>> = {
  embedded: { project: 'unit', file: 'test/lines/lines-embedded.test.ts' },
  real: { project: 'cluster', file: 'test/cluster/lines.test.ts' },
}

/** As the test runner sees them: nothing is run. */
async function testNames(world: WorldName): Promise<readonly string[]> {
  const { project, file: suite } = suites[world]
  const env = { ...process.env, ROOMFENCE_SKIP_CLUSTER: '', VITEST: '', NO_COLOR: '1' }
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['node_modules/vitest/vitest.mjs', 'list', '--no-static-parse', '--json', '--project', project, suite],
    { cwd: root, env, maxBuffer: 16 * 1024 * 1024 },
  )
  return (JSON.parse(stdout.slice(stdout.indexOf('['))) as { name: string }[]).map(({ name }) => name)
}

const twice = (names: readonly string[]): readonly string[] => names.filter((name, index) => names.indexOf(name) !== index)

describe('the table of docs/failover-test-matrix.md', () => {
  test('is made from the lines (UPDATE_DOCS=1 writes it)', () => {
    const made = withLines(page, rows)
    if (process.env['UPDATE_DOCS'] === '1') writeFileSync(file, made)
    expect(process.env['UPDATE_DOCS'] === '1' ? made : page).toBe(made)
  })

  test.each(['embedded', 'real'] as const)('says "yes" for %s where that suite has a test of that id, and only there', async (world) => {
    const names = await testNames(world)
    expect(names.length).toBeGreaterThan(20)
    expect(disagreements(readTable(withLines(page, rows)), names, world)).toEqual([])
  })

  test('names tests elsewhere that are there', () => {
    const missing = rows.flatMap(({ id, embedded, real }) =>
      [embedded, real].flatMap((shown) => {
        if (shown === undefined || 'cannot' in shown) return []
        const isThere = existsSync(join(root, shown.file)) && readFileSync(join(root, shown.file), 'utf8').includes(shown.test)
        return isThere ? [] : [`${id}: ${shown.file} has no test "${shown.test}"`]
      }),
    )
    expect(missing).toEqual([])
  })

  test('has each line once, in one stage, with a sentence', () => {
    expect(twice(rows.map(({ id }) => id))).toEqual([])
    expect(twice(stages.map(({ name }) => name))).toEqual([])
    for (const { id, says } of rows) expect(`${id}: ${says}`).toMatch(/^[a-z0-9]+(?:-[a-z0-9]+)+: \S[^>|]{15,}[^.]$/)
    for (const { name } of stages) expect(name).toMatch(/^[a-z][a-z0-9-]{1,40}$/)
  })

  test('leaves no part of the failover without a line', () => {
    expect(untestedIn(withLines(page, rows))).toEqual([])
  })

  test('has a reason wherever a world cannot play a line', () => {
    for (const { id, embedded, real } of rows)
      for (const shown of [embedded, real]) if (shown !== undefined && 'cannot' in shown) expect(shown.cannot, id).toMatch(/\S{2,} \S+/)
  })
})

describe('what does not agree is seen', () => {
  const row: Row = {
    id: 'a-line',
    part: 'order/fenced-taint',
    says: 'says this',
    stage: 'stage',
    embedded: undefined,
    real: { cannot: 'it is a stand-in' },
  }
  const made = withLines('<!-- begin: lines --><!-- end: lines -->', [row])

  test('the page’s rows are read as they were made', () => {
    expect(readTable(made)).toEqual([{ id: 'a-line', embedded: 'yes: stage', real: 'no: it is a stand-in' }])
    expect(untestedIn(made).length).toBeGreaterThan(40)
  })

  test.each([
    ['a test that the page does not have', 'embedded', ['x > stage > a-line: says', 'x > stage > b-line: says'], ['b-line']],
    ['a line without a test', 'embedded', [], ['a-line']],
    ['a line that a world cannot play, and has', 'real', ['x > stage > a-line: says'], ['a-line']],
    ['nothing', 'embedded', ['x > stage > a-line: says'], []],
  ] as const)('%s', (_what, world, names, ids) => {
    expect(disagreements(readTable(made), names, world).map((text) => text.split(':')[0])).toEqual(ids)
  })
})
