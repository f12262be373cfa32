/** Every metric is on the page and on the dashboard, and nothing watches one that does not exist. */
import { writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { textOf } from './files.ts'
import { agentMetrics, type Metric, unknownLabels, unknownNames, unshown, witnessServerMetrics, withTable } from './metrics.ts'

const agent = agentMetrics()
const witness = witnessServerMetrics()
const all = [...agent, ...witness]

interface Dashboard {
  readonly uid: string
  readonly annotations: { readonly list: readonly { readonly expr: string }[] }
  readonly panels: readonly {
    readonly id: number
    readonly type: string
    readonly title: string
    readonly description?: string
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
    readonly targets?: readonly { readonly expr: string }[]
  }[]
}
const dashboard = JSON.parse(textOf('deploy/dashboards/roomfence.json')) as Dashboard
const shownQueries = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
const queries = [...shownQueries, ...dashboard.annotations.list.map(({ expr }) => expr)]

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly labels: { readonly severity: string }
  readonly annotations: { readonly summary: string; readonly description: string }
}
const rules = (parse(textOf('deploy/alerts/roomfence.rules.yaml')) as { groups: readonly { rules: readonly Rule[] }[] }).groups.flatMap(
  (group) => group.rules,
)

test('docs/metrics.md lists every metric with its type, labels and meaning (UPDATE_DOCS=1 writes it)', () => {
  const page = textOf('docs/metrics.md')
  const made = withTable(withTable(page, 'agent', agent), 'witness', witness)
  if (process.env['UPDATE_DOCS'] === '1') writeFileSync(new URL('../../docs/metrics.md', import.meta.url), made)
  expect(process.env['UPDATE_DOCS'] === '1' ? made : page).toBe(made)
})

test('every metric says what it is, and in the units that Prometheus asks for', () => {
  expect(agent.length).toBeGreaterThan(20)
  expect(witness.length).toBeGreaterThan(2)
  for (const { name, type, help } of all) {
    expect(help, name).toMatch(/^[A-Z0-9].{10,}\.$/)
    expect(name, name).not.toMatch(/_(?:ms|milliseconds|minutes)\b/)
    expect(name.endsWith('_total'), name).toBe(type === 'counter')
  }
})

describe('the dashboard', () => {
  test('shows every metric', () => {
    expect(unshown(shownQueries.join('\n'), all)).toEqual([])
  })

  test('asks for no metric and no label that does not exist', () => {
    expect(unknownNames(queries.join('\n'), all)).toEqual([])
    expect(unknownLabels(queries, all)).toEqual([])
  })

  test('has panels of its own place, each with a word on what it means', () => {
    const panels = dashboard.panels
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
    for (const { type, title, description } of panels) if (type !== 'row') expect(description, title).toMatch(/\.$/)
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, cell) => `${x + (cell % w)} ${y + Math.floor(cell / w)}`),
    )
    expect(new Set(cells).size).toBe(cells.length)
  })
})

describe('the rules', () => {
  test('ask for no metric and no label that does not exist', () => {
    const expressions = rules.map(({ expr }) => expr)
    expect(unknownNames(expressions.join('\n'), all)).toEqual([])
    expect(
      unknownLabels(
        expressions.map((expr) => expr.replace('()', '')),
        all,
      ),
    ).toEqual([])
  })

  test('each say how grave it is and what to do', () => {
    expect(rules.length).toBeGreaterThan(10)
    for (const { alert, labels, annotations } of rules) {
      expect(alert).toMatch(/^Roomfence[A-Z]/)
      expect(['critical', 'warning', 'info'], alert).toContain(labels.severity)
      expect(annotations.summary.length, alert).toBeGreaterThan(15)
      expect(annotations.description, alert).toMatch(/[.?]$|=true$/)
    }
  })
})

describe('what is missing is seen', () => {
  const some: readonly Metric[] = [
    { name: 'roomfence_epoch', type: 'gauge', help: 'x', labels: [] },
    { name: 'roomfence_wait_seconds', type: 'histogram', help: 'x', labels: ['kind'] },
  ]
  test('a metric that no panel shows', () => {
    expect(unshown('max(roomfence_epoch)', some)).toEqual(['roomfence_wait_seconds'])
    expect(unshown('roomfence_epoch + rate(roomfence_wait_seconds_count[1m])', some)).toEqual([])
  })

  test('a query of a metric that does not exist, or of a histogram by its bare name', () => {
    expect(unknownNames('roomfence_epochs + roomfence_wait_seconds + roomfence_wait_seconds_sum', some)).toEqual([
      'roomfence_epochs',
      'roomfence_wait_seconds',
    ])
  })

  test('a label that does not exist', () => {
    expect(unknownLabels(['sum by (kind, room) (roomfence_epoch{peer="b"})'], some)).toHaveLength(2)
    expect(unknownLabels(['sum by (kind, instance) (roomfence_epoch{job=~"$job", kind!="b"})'], some)).toEqual([])
  })

  test('a page without a metric, or without its marks', () => {
    const page = withTable('<!-- begin: agent -->\n<!-- end: agent -->', 'agent', some.slice(1))
    expect(withTable(page, 'agent', some)).not.toBe(page)
    expect(() => withTable('# Metrics', 'agent', some)).toThrow('no marks')
  })
})
