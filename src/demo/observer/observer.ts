/** The observer of the demo: reads what virtual machines remember and what the disks hold, and judges it. It asks no agent. */
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs'
import { replicaPaths } from '../storage/replica.ts'
import type { VmEvent } from '../vm/vm.ts'
import { type Finding, type JournalEntry, judge, type ReplicaHistory } from './judge.ts'

/** Where a virtual machine's volume lies: its DRBD resource and the replica directories of both nodes. */
export interface Volume {
  readonly vm: string
  readonly resource: string
  readonly replicas: readonly { readonly node: string; readonly directory: string }[]
}

/** A virtual machine as a client outside sees it. */
export interface VmProgress {
  readonly vm: string
  readonly instance: string
  readonly node: string
  readonly openedAtMs: number
  readonly acknowledgedNumber: number
  /** When the last record was acknowledged; undefined before the first of this copy. */
  readonly acknowledgedAtMs: number | undefined
  /** When this copy had its first record acknowledged: the moment the machine is back. */
  readonly firstAcknowledgedAtMs: number | undefined
}

export interface Observer {
  /** Reads what is new; the newest copy of each machine. */
  progress(): ReadonlyMap<string, VmProgress>
  /** Everything read so far, in the order it was written. */
  events(): readonly VmEvent[]
  /**
   * Judges the whole history. Acknowledged records are looked for on one replica of each machine's volume: that of the node on which its newest
   * copy started, which is what its user sees; `survivingNode` names others (undefined: look on none). On `healthyNodes` nothing may have ended
   * so far: judge before the demo itself stops anything there.
   */
  judge(options?: JudgeOptions): readonly Finding[]
}

interface JudgeOptions {
  readonly survivingNode?: (vm: string) => string | undefined
  readonly healthyNodes?: ReadonlySet<string>
}

/** Reads a replica's journal; lines that a power loss tore are left out. */
export function readJournal(text: string): JournalEntry[] {
  const entries: JournalEntry[] = []
  for (const line of text.split('\n')) {
    const [atMs, origin, vm, instance, number] = line.split(' ')
    if (origin === 'resync') entries.push({ atMs: Number(atMs), origin, vm: '', instance: '', number: 0 })
    if (number === undefined || vm === undefined || instance === undefined || (origin !== 'local' && origin !== 'peer')) continue
    entries.push({ atMs: Number(atMs), origin, vm, instance, number: Number(number) })
  }
  return entries
}

const readIfThere = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '')

/** Reads the log that the machines write (which need not exist yet) and the replicas of `volumes`. */
export function createObserver(options: { readonly log: string; readonly volumes: () => readonly Volume[] }): Observer {
  const events: VmEvent[] = []
  const newest = new Map<string, VmProgress>()
  let offset = 0
  let rest = ''

  const take = (event: VmEvent): void => {
    events.push(event)
    const known = newest.get(event.vm)
    if (event.type === 'opened') {
      newest.set(event.vm, {
        vm: event.vm,
        instance: event.instance,
        node: event.node,
        openedAtMs: event.atMs,
        acknowledgedNumber: event.lastNumber,
        acknowledgedAtMs: undefined,
        firstAcknowledgedAtMs: undefined,
      })
    } else if (event.type === 'acknowledged' && known?.instance === event.instance) {
      const firstAcknowledgedAtMs = known.firstAcknowledgedAtMs ?? event.atMs
      newest.set(event.vm, { ...known, acknowledgedNumber: event.number, acknowledgedAtMs: event.atMs, firstAcknowledgedAtMs })
    }
  }
  const catchUp = (): void => {
    if (!existsSync(options.log)) return
    const file = openSync(options.log, 'r')
    try {
      const fresh = Buffer.alloc(Math.max(0, fstatSync(file).size - offset))
      offset += readSync(file, fresh, 0, fresh.length, offset)
      const lines = (rest + fresh.toString('utf8')).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) take(JSON.parse(line) as VmEvent)
    } finally {
      closeSync(file)
    }
  }
  return {
    progress() {
      catchUp()
      return newest
    },
    events() {
      catchUp()
      return events
    },
    judge(given = {}) {
      catchUp()
      const survivingNode = given.survivingNode ?? ((vm: string) => newest.get(vm)?.node)
      const healthyNodes = given.healthyNodes ?? new Set<string>()
      const replicas: ReplicaHistory[] = []
      const survivors = new Map<string, ReplicaHistory>()
      for (const volume of options.volumes()) {
        for (const { node, directory } of volume.replicas) {
          const paths = replicaPaths(directory, volume.resource)
          const content = readIfThere(paths.log).split('\n')
          const replica = { resource: volume.resource, node, journal: readJournal(readIfThere(paths.journal)), content }
          replicas.push(replica)
          if (survivingNode(volume.vm) === node) survivors.set(volume.vm, replica)
        }
      }
      return judge({ events, replicas, survivors, healthyNodes })
    },
  }
}
