/** What the agents cost while they carry out a fence: calls to the API server, memory, processor time. */
import { readFileSync } from 'node:fs'

export interface ProcessCost {
  readonly residentMb: number
  readonly peakMb: number
  readonly cpuSeconds: number
}

const clockTicksASecond = 100

/** Of a process that lives, from `/proc/<pid>/status` and `stat` (proc(5)). */
export function processCost(pid: number): ProcessCost {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const megabytes = (field: string): number => Math.round(Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) / 1024)
  // the name before may hold spaces and parentheses; utime and stime are the 14th and 15th field
  const after = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return {
    residentMb: megabytes('VmRSS'),
    peakMb: megabytes('VmHWM'),
    cpuSeconds: (Number(after[11]) + Number(after[12])) / clockTicksASecond,
  }
}

/** `method outcome` to count, from the text of /metrics. */
export function kubernetesCalls(metrics: string): ReadonlyMap<string, number> {
  const found = [...metrics.matchAll(/^roomfence_kubernetes_calls_total\{([^}]*)\} (\d+)/gm)].map(([, labels = '', count]) => {
    const label = (name: string): string => new RegExp(`${name}="([^"]*)"`).exec(labels)?.[1] ?? '?'
    return [`${label('method')} ${label('outcome')}`, Number(count)] as const
  })
  return new Map(found)
}

/** What was added between two looks, the most first, as `120 PATCH ok, 40 GET ok`; total before it. */
export function callsBetween(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): string {
  const added = [...after]
    .map(([name, count]) => ({ name, count: count - (before.get(name) ?? 0) }))
    .filter(({ count }) => count > 0)
    .toSorted((a, b) => b.count - a.count)
  const total = added.reduce((sum, { count }) => sum + count, 0)
  return total === 0 ? '0' : `${total}: ${added.map(({ name, count }) => `${count} ${name}`).join(', ')}`
}
