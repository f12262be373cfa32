/** The metrics that there are, the tables of docs/metrics.md made from them, and the names in dashboards and rules. */
import { createMetrics } from '../../src/observe/metrics.ts'
import { witnessMetrics } from '../../src/witness/metrics.ts'

export interface Metric {
  readonly name: string
  readonly type: string
  readonly help: string
  readonly labels: readonly string[]
}

/** Those of our own; prom-client's about the process (`process_`, `nodejs_`) are documented there. */
export function agentMetrics(): readonly Metric[] {
  const described = createMetrics().registry.getMetricsAsArray() as unknown as readonly {
    readonly name: string
    readonly help: string
    readonly type: string
    readonly labelNames: readonly string[]
  }[]
  return described
    .filter(({ name }) => name.startsWith('roomfence_'))
    .map(({ name, help, type, labelNames }) => ({ name, type, help, labels: [...labelNames] }))
}

export function witnessServerMetrics(): readonly Metric[] {
  const text = witnessMetrics().text({ current: () => null, failure: () => undefined } as unknown as Parameters<
    ReturnType<typeof witnessMetrics>['text']
  >[0])
  return [...text.matchAll(/^# HELP (\S+) (.*)\n# TYPE \S+ (\S+)\n(.*)$/gm)].map(([, name = '', help = '', type = '', sample = '']) => ({
    name,
    type,
    help,
    labels: [...sample.matchAll(/(\w+)="/g)].map(([, label = '']) => label),
  }))
}

function tableOf(metrics: readonly Metric[]): string {
  const rows = metrics.map(
    ({ name, type, help, labels }) => `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |`,
  )
  return ['| metric | type | labels | meaning |', '|---|---|---|---|', ...rows].join('\n')
}

const mark = (name: string, edge: 'begin' | 'end'): string => `<!-- ${edge}: ${name} -->`

/** `page` with the table between the two marks of `name` put in again. */
export function withTable(page: string, name: string, metrics: readonly Metric[]): string {
  const [before, rest] = page.split(mark(name, 'begin'))
  const after = rest?.split(mark(name, 'end'))[1]
  if (before === undefined || after === undefined)
    throw new Error(`docs/metrics.md has no marks ${mark(name, 'begin')} and ${mark(name, 'end')}`)
  return `${before}${mark(name, 'begin')}\n\n${tableOf(metrics)}\n\n${mark(name, 'end')}${after}`
}

/** Series that a metric is stored as: a histogram has three, and none of its own name. */
const seriesOf = ({ name, type }: Metric): readonly string[] =>
  type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name]

const namesIn = (queries: string): ReadonlySet<string> => new Set(queries.match(/\broomfence_[a-z0-9_]+/g) ?? [])

/** Names in `queries` that no metric has. */
export function unknownNames(queries: string, metrics: readonly Metric[]): readonly string[] {
  const known = new Set(metrics.flatMap(seriesOf))
  return [...namesIn(queries)].filter((name) => !known.has(name))
}

/** Metrics that no query in `queries` shows. */
export function unshown(queries: string, metrics: readonly Metric[]): readonly string[] {
  const shown = namesIn(queries)
  return metrics.filter((metric) => !seriesOf(metric).some((series) => shown.has(series))).map(({ name }) => name)
}

/** Labels that queries select or group by, beside those that Prometheus adds. */
export function unknownLabels(queries: readonly string[], metrics: readonly Metric[]): readonly string[] {
  const known = new Set([...metrics.flatMap(({ labels }) => labels), 'job', 'instance', 'le'])
  return queries.flatMap((query) => {
    const selected = [...query.matchAll(/([a-z_]+)\s*(?:=~|!~|!=|=)\s*"/g)].map(([, label = '']) => label)
    const grouped = [...query.matchAll(/\b(?:by|on)\s*\(([^)]*)\)/g)].flatMap(([, list = '']) =>
      list.split(',').map((label) => label.trim()),
    )
    return [...selected, ...grouped].filter((label) => label !== '' && !known.has(label)).map((label) => `${label} in ${query}`)
  })
}
