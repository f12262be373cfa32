/** The timeline at the end: from the loss of power to each VM ordered and running. Read from the agents' logs and from the observer. */
import type { Controls } from './controls.ts'

const seconds = (ms: number | undefined): string => (ms === undefined ? '-' : `${(ms / 1000).toFixed(1)} s`)

export function timeline({ demo, moments, progress }: Controls): readonly string[] {
  const lossMs = moments.get('power loss')
  if (lossMs === undefined) return []
  const after = (atMs: number | undefined): number | undefined => (atMs === undefined ? undefined : atMs - lossMs)
  const logged = progress.logged().filter(({ atMs }) => atMs >= lossMs)
  const first = (matches: (line: { readonly [field: string]: unknown }) => boolean): number | undefined =>
    logged.find(({ line }) => matches(line))?.atMs
  const isVmEvent = (kind: string, vm: string) => (line: { readonly [field: string]: unknown }) =>
    line['event'] === kind && String(line['vm']).endsWith(`/${vm}`)
  const lines = [
    '',
    'Timeline, from the loss:',
    `  fence proposed      ${seconds(after(first((line) => line['note'] === 'proposing')))}`,
    `  fence chosen        ${seconds(after(first((line) => line['note'] === 'fence-chosen')))}`,
    `  first node tainted  ${seconds(after(first((line) => line['event'] === 'node-tainted')))}`,
    `  un-fenced           ${seconds(after(moments.get('un-fenced')))}`,
    '  VM         strategy         ordered    running    writes on',
  ]
  for (const { name, runStrategy } of demo.vms) {
    const seen = demo.rooms.observer.progress().get(name)
    const orderedMs = first(isVmEvent('vm-ordered', name))
    const writesMs =
      seen?.firstAcknowledgedAtMs !== undefined && seen.firstAcknowledgedAtMs > lossMs ? seen.firstAcknowledgedAtMs : undefined
    if (orderedMs === undefined && writesMs === undefined) continue
    lines.push(
      `  ${name.padEnd(10)} ${runStrategy.padEnd(16)} ${seconds(after(orderedMs)).padEnd(10)} ${seconds(after(writesMs)).padEnd(10)} ${writesMs === undefined ? `(${runStrategy}: not started again)` : (seen?.node ?? '-')}`,
    )
  }
  return lines
}
