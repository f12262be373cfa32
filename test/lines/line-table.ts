/** The table of docs/failover-test-matrix.md, made from the lines, and read back from the page. */
import { elsewhere, type Elsewhere, type LineElsewhere, type Scene } from './lines.ts'
import { type Part, parts, topicOf, topics } from './issue.ts'
import type { WorldName } from './world.ts'

/** A line as the table shows it. */
export interface Row {
  readonly id: string
  readonly part: Part
  readonly says: string
  /** The stage whose play it looks at; undefined for a line that other tests show. */
  readonly stage: string | undefined
  readonly embedded: Elsewhere | undefined
  readonly real: Elsewhere | undefined
}

export const rowsOf = (stages: readonly Scene[], others: readonly LineElsewhere[]): readonly Row[] => [
  ...stages.flatMap((stage) =>
    stage.lines.map((line) => ({
      id: line.id,
      part: line.part,
      says: line.says,
      stage: stage.name,
      embedded: elsewhere(stage, line, 'embedded'),
      real: elsewhere(stage, line, 'real'),
    })),
  ),
  ...others.map((line) => ({ ...line, stage: undefined })),
]

const cell = ({ stage = '' }: Row, shown: Elsewhere | undefined): string => {
  if (shown === undefined) return `yes: ${stage}`
  return 'cannot' in shown ? `no: ${shown.cannot}` : `in ${shown.file}: “${shown.test}”`
}

const escaped = (text: string): string => text.replaceAll('|', '\\|')

const notYet = 'not tested yet'

/** Heading, then a row a line, in the order of the parts. */
function tableOf(rows: readonly Row[]): string {
  const sections = Object.entries(topics).map(([topic, title]) => {
    const own = [...parts].filter(([part]) => topicOf(part) === topic)
    const body = own.flatMap(([part, words]) => {
      const lines = rows.filter((row) => row.part === part)
      if (lines.length === 0) return [`| | ${escaped(words)} | ${notYet} | ${notYet} |`]
      return lines.map(
        (row) => `| \`${row.id}\` | ${escaped(row.says)} | ${escaped(cell(row, row.embedded))} | ${escaped(cell(row, row.real))} |`,
      )
    })
    return [`### ${title}`, '', '| line | what is tested | embedded | real |', '|---|---|---|---|', ...body, ''].join('\n')
  })
  return sections.join('\n')
}

const marks = ['<!-- begin: lines -->', '<!-- end: lines -->'] as const

/** The page with the table between its marks. */
export function withLines(page: string, rows: readonly Row[]): string {
  const [from, to] = marks.map((mark) => page.indexOf(mark))
  if (from === undefined || to === undefined || from < 0 || to < from) throw new Error(`the page lacks ${marks.join(' and ')}`)
  return `${page.slice(0, from)}${marks[0]}\n\n${tableOf(rows)}\n${page.slice(to)}`
}

export interface PageRow {
  readonly id: string
  readonly embedded: string
  readonly real: string
}

/** What a reader sees: the rows of the page, those without an id left out. */
export const readTable = (page: string): readonly PageRow[] =>
  [...page.matchAll(/^\| `([^`]+)` \| .* \| ((?:\\\||[^|])*) \| ((?:\\\||[^|])*) \|$/gm)].map(([, id = '', embedded = '', real = '']) => ({
    id,
    embedded,
    real,
  }))

/** Rows of the page that say that nothing is tested. */
export const untestedIn = (page: string): readonly string[] =>
  [...page.matchAll(/^\| \| (.*) \| not tested yet \| not tested yet \|$/gm)].map(([, words = '']) => words)

/**
 * Where the page and the suite of one world do not agree.
 *
 * @param testNames of the world's suite, as the test runner lists them
 */
export function disagreements(rows: readonly PageRow[], testNames: readonly string[], world: WorldName): readonly string[] {
  const tested = new Set(testNames.flatMap((name) => /(?:^|> )([a-z0-9-]+): [^>]*$/.exec(name)?.[1] ?? []))
  const shown = new Set(rows.filter((row) => row[world].startsWith('yes: ')).map(({ id }) => id))
  return [
    ...[...shown].filter((id) => !tested.has(id)).map((id) => `${id}: the page says "yes" for ${world}, and the suite has no such test`),
    ...[...tested].filter((id) => !shown.has(id)).map((id) => `${id}: the ${world} suite has this test, and the page does not say so`),
  ]
}
