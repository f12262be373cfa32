/** What a person sees while the demo runs: each agent's word as it changes, and what the observer sees of each VM. Asks, never decides. */
import { readFileSync } from 'node:fs'
import fetch from 'node-fetch'
import { monotonicMs } from '../storage/replica.ts'
import type { Demo } from './setup.ts'

export interface AgentStatus {
  readonly node: string
  readonly room: string
  readonly epoch: number | null
  readonly members: readonly { readonly node: string; readonly room: string; readonly standing: string; readonly lastFence: number }[]
  readonly permitRemainingSeconds: number
  readonly containment: { readonly desired: string; readonly isVerified: boolean }
  readonly coordinator: string | null
  readonly cause: { readonly kind: string } | null
  readonly witness: { readonly seat: { readonly isVoting: boolean } | null }
  readonly api: { readonly isReachable: boolean | null }
  readonly proofs: readonly { readonly node: string; readonly isHeld: boolean; readonly text?: string; readonly reason?: string }[]
  readonly failovers: readonly string[]
}

export interface LoggedEvent {
  readonly atMs: number
  readonly node: string
  readonly line: { readonly [field: string]: unknown }
}

export interface Progress {
  /** The agents' newest words; a node that does not answer is missing. */
  readonly statuses: () => ReadonlyMap<string, AgentStatus>
  /** Lines of all agents' logs so far, on the demo's clock. */
  readonly logged: () => readonly LoggedEvent[]
  readonly say: (text: string) => void
  readonly stop: () => void
}

const ASK_EVERY_MS = 300
const QUIET_NOTES = new Set(['learned', 'late'])

export function startProgress(demo: Demo, print: (line: string) => void): Progress {
  const startedMs = monotonicMs()
  const wallOffsetMs = monotonicMs() - Date.now()
  const statuses = new Map<string, AgentStatus>()
  const told = new Map<string, string>()
  const offsets = new Map<string, number>()
  const logged: LoggedEvent[] = []
  const say = (text: string): void => print(`${((monotonicMs() - startedMs) / 1000).toFixed(1).padStart(6)} s  ${text}`)
  const tellChange = (key: string, now: string, text: string): void => {
    const before = told.get(key)
    told.set(key, now)
    if (before !== undefined && before !== now) say(text)
  }

  const ask = async (node: string): Promise<void> => {
    const at = demo.observePorts.get(node)
    if (!at) return
    try {
      const answer = await fetch(`http://${at.host}:${at.port}/status`, { signal: AbortSignal.timeout(1_000) })
      const status = (await answer.json()) as AgentStatus
      statuses.set(node, status)
      const { desired, isVerified } = status.containment
      tellChange(
        `contain ${node}`,
        desired,
        `${node}: ${desired === 'none' ? 'workloads go on' : `${desired}${isVerified ? ', verified' : ''}`}`,
      )
    } catch {
      statuses.delete(node)
    }
  }

  const readLogs = (): void => {
    for (const [name, node] of demo.rooms.nodes) {
      let text: string
      try {
        text = readFileSync(node.paths.agentLog, 'utf8')
      } catch {
        continue
      }
      const from = offsets.get(name) ?? 0
      const end = text.lastIndexOf('\n') + 1
      if (end <= from) continue
      offsets.set(name, end)
      for (const lineText of text.slice(from, end).split('\n')) {
        try {
          const line = JSON.parse(lineText) as { readonly [field: string]: unknown }
          const atMs = Date.parse(String(line['time'])) + wallOffsetMs
          logged.push({ atMs, node: name, line })
          tell(name, line)
        } catch {
          // Not a line of ours.
        }
      }
    }
  }
  const tell = (node: string, line: { readonly [field: string]: unknown }): void => {
    const message = typeof line['msg'] === 'string' ? line['msg'] : ''
    const event = line['event']
    const field = (name: string): string => String(line[name])
    if (event === 'vm-ordered') say(`${node}: ${field('vm')} ordered elsewhere (${field('proof')} proof)`)
    else if (event === 'node-tainted') say(`${node}: ${field('node')} tainted ${field('taint')}`)
    else if (event === 'waiting-for-proof') say(`${node}: waiting: ${field('reason').slice(0, 160)}`)
    else if (event === 'held') say(`${node}: held: ${field('workload')}: ${field('reason').slice(0, 120)}`)
    else if (event === 'finished') say(`${node}: ${field('fence')} is carried out`)
    else if (typeof line['note'] === 'string' && !QUIET_NOTES.has(line['note'])) say(`${node}: ${line['note']}: ${message}`)
    else if (line['cause'] !== undefined && line['epoch'] !== undefined)
      tellChange('epoch', `${Number(line['epoch'])}`, `epoch ${Number(line['epoch'])}: ${JSON.stringify(line['cause'])}`)
    else if (message.startsWith('un-fence')) say(`${node}: ${message}`)
    else if (Number(line['level']) >= 60) say(`${node}: ${message}`)
  }
  const watchVms = (): void => {
    for (const [vm, { instance, node }] of demo.rooms.observer.progress()) tellChange(`vm ${vm}`, instance, `${vm} writes on ${node}`)
  }
  let isBusy = false
  const timer = setInterval(() => {
    readLogs()
    watchVms()
    if (isBusy) return
    isBusy = true
    void Promise.all([...demo.observePorts.keys()].map(ask)).finally(() => (isBusy = false))
  }, ASK_EVERY_MS)
  return {
    statuses: () => statuses,
    logged: () => {
      readLogs()
      return logged
    },
    say,
    stop: () => clearInterval(timer),
  }
}
