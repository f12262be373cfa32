/**
 * The observer's judgement: from what clients and disks saw, and from no agent, whether two copies of a virtual machine ever wrote at once,
 * whether an acknowledged record is missing, and whether a start was from an incomplete replica.
 */
import type { VmEvent } from '../vm/vm.ts'

/** One line of a replica's journal: what reached that disk, when, and by which way. */
export interface JournalEntry {
  readonly atMs: number
  readonly origin: 'local' | 'peer' | 'resync'
  readonly vm: string
  readonly instance: string
  readonly number: number
}

/** One disk of a resource. */
export interface ReplicaHistory {
  readonly resource: string
  readonly node: string
  readonly journal: readonly JournalEntry[]
  /** The records on it at the end, one line each. */
  readonly content: readonly string[]
}

export interface History {
  readonly events: readonly VmEvent[]
  readonly replicas: readonly ReplicaHistory[]
  /** Which replica survives for each VM: acknowledged records are looked for there. Without an entry nothing is looked for. */
  readonly survivors: ReadonlyMap<string, ReplicaHistory>
  /** Nodes to which nothing was done: a copy that ended on one of them was killed without a reason. */
  readonly healthyNodes: ReadonlySet<string>
}

export type Finding =
  | {
      readonly type: 'twoWriters'
      readonly vm: string
      /** The copy that began first, and its acknowledgement that came after the other copy had begun to write. */
      readonly first: { readonly instance: string; readonly node: string; readonly lastAcknowledgedAtMs: number; readonly number: number }
      readonly second: { readonly instance: string; readonly node: string; readonly firstAcknowledgedAtMs: number }
    }
  | {
      readonly type: 'writeAfterSuccessor'
      readonly vm: string
      readonly node: string
      readonly resource: string
      readonly instance: string
      readonly successor: string
      readonly number: number
      readonly atMs: number
    }
  | {
      readonly type: 'acknowledgedRecordMissing'
      readonly vm: string
      readonly instance: string
      readonly number: number
      readonly acknowledgedAtMs: number
      readonly survivor: string
    }
  | {
      readonly type: 'staleStart'
      readonly vm: string
      readonly instance: string
      readonly node: string
      readonly atMs: number
      readonly foundNumber: number
      readonly acknowledgedNumber: number
    }
  | {
      readonly type: 'startFromIncompleteReplica'
      readonly vm: string
      readonly instance: string
      readonly node: string
      readonly atMs: number
      readonly disk: string
    }
  | {
      readonly type: 'killedOnHealthyNode'
      readonly vm: string
      readonly instance: string
      readonly node: string
      readonly atMs: number
    }

interface Copy {
  readonly vm: string
  readonly instance: string
  readonly node: string
  openedAtMs: number
  firstAcknowledgedAtMs: number
  lastAcknowledgedAtMs: number
  lastNumber: number
}

function copiesOf(events: readonly VmEvent[]): Map<string, Copy[]> {
  const copies = new Map<string, Copy>()
  const byVm = new Map<string, Copy[]>()
  for (const event of events) {
    const key = `${event.vm} ${event.instance}`
    let copy = copies.get(key)
    if (copy === undefined) {
      copy = {
        vm: event.vm,
        instance: event.instance,
        node: event.node,
        openedAtMs: event.atMs,
        firstAcknowledgedAtMs: Number.POSITIVE_INFINITY,
        lastAcknowledgedAtMs: Number.NEGATIVE_INFINITY,
        lastNumber: 0,
      }
      copies.set(key, copy)
      byVm.set(event.vm, [...(byVm.get(event.vm) ?? []), copy])
    }
    copy.openedAtMs = Math.min(copy.openedAtMs, event.atMs)
    if (event.type !== 'acknowledged') continue
    copy.firstAcknowledgedAtMs = Math.min(copy.firstAcknowledgedAtMs, event.atMs)
    if (event.atMs >= copy.lastAcknowledgedAtMs) {
      copy.lastAcknowledgedAtMs = event.atMs
      copy.lastNumber = event.number
    }
  }
  return byVm
}

function findTwoWriters(events: readonly VmEvent[]): Finding[] {
  const findings: Finding[] = []
  for (const [vm, copies] of copiesOf(events)) {
    const inOrder = [...copies].sort((one, other) => one.openedAtMs - other.openedAtMs)
    for (const [index, first] of inOrder.entries()) {
      for (const second of inOrder.slice(index + 1)) {
        if (first.lastAcknowledgedAtMs <= second.firstAcknowledgedAtMs) continue
        findings.push({
          type: 'twoWriters',
          vm,
          first: {
            instance: first.instance,
            node: first.node,
            lastAcknowledgedAtMs: first.lastAcknowledgedAtMs,
            number: first.lastNumber,
          },
          second: { instance: second.instance, node: second.node, firstAcknowledgedAtMs: second.firstAcknowledgedAtMs },
        })
      }
    }
  }
  return findings
}

/** On one disk, no record of a copy may follow one of a later copy, acknowledged or not: the successor's file would be damaged. */
function findWritesAfterSuccessor(history: History): Finding[] {
  const findings: Finding[] = []
  for (const replica of history.replicas) {
    const superseded = new Map<string, Map<string, string>>()
    const newest = new Map<string, string>()
    for (const entry of replica.journal) {
      if (entry.origin === 'resync') continue
      const successor = superseded.get(entry.vm)?.get(entry.instance)
      if (successor !== undefined) {
        findings.push({
          type: 'writeAfterSuccessor',
          vm: entry.vm,
          node: replica.node,
          resource: replica.resource,
          instance: entry.instance,
          successor,
          number: entry.number,
          atMs: entry.atMs,
        })
        continue
      }
      const previous = newest.get(entry.vm)
      if (previous !== undefined && previous !== entry.instance) {
        const older = superseded.get(entry.vm) ?? new Map<string, string>()
        older.set(previous, entry.instance)
        superseded.set(entry.vm, older)
      }
      newest.set(entry.vm, entry.instance)
    }
  }
  return findings
}

function findMissingWrites(history: History): Finding[] {
  const findings: Finding[] = []
  for (const [vm, survivor] of history.survivors) {
    const present = new Set(survivor.content)
    for (const event of history.events) {
      if (event.type !== 'acknowledged' || event.vm !== vm) continue
      if (present.has(`${vm} ${event.instance} ${event.number}`)) continue
      findings.push({
        type: 'acknowledgedRecordMissing',
        vm,
        instance: event.instance,
        number: event.number,
        acknowledgedAtMs: event.atMs,
        survivor: survivor.node,
      })
    }
  }
  return findings
}

function findStaleStarts(events: readonly VmEvent[]): Finding[] {
  const findings: Finding[] = []
  const acknowledged = new Map<string, number>()
  const inOrder = [...events].sort((one, other) => one.atMs - other.atMs)
  for (const event of inOrder) {
    if (event.type === 'acknowledged') {
      acknowledged.set(event.vm, Math.max(acknowledged.get(event.vm) ?? 0, event.number))
      continue
    }
    if (event.type === 'ended') continue
    const { vm, instance, node, atMs, disk } = event
    const acknowledgedNumber = acknowledged.get(vm) ?? 0
    if (event.lastNumber < acknowledgedNumber) {
      findings.push({ type: 'staleStart', vm, instance, node, atMs, foundNumber: event.lastNumber, acknowledgedNumber })
    }
    if (disk !== 'UpToDate' || !event.isComplete) findings.push({ type: 'startFromIncompleteReplica', vm, instance, node, atMs, disk })
  }
  return findings
}

/** A replacement that was deleted by its name, a machine killed on a node that was never fenced. */
function findKilledOnHealthyNodes({ events, healthyNodes }: History): Finding[] {
  return events
    .filter((event) => event.type === 'ended' && healthyNodes.has(event.node))
    .map(({ vm, instance, node, atMs }) => ({ type: 'killedOnHealthyNode', vm, instance, node, atMs }))
}

/** Everything in a history that a user would call wrong, with the evidence for it. */
export function judge(history: History): readonly Finding[] {
  return [
    ...findTwoWriters(history.events),
    ...findWritesAfterSuccessor(history),
    ...findMissingWrites(history),
    ...findStaleStarts(history.events),
    ...findKilledOnHealthyNodes(history),
  ]
}

/** A finding as a line for people. */
export function describeFinding(finding: Finding): string {
  const { vm } = finding
  if (finding.type === 'twoWriters') {
    const { first, second } = finding
    const late = `copy ${first.instance} on ${first.node} had record ${first.number} acknowledged at ${first.lastAcknowledgedAtMs.toFixed(1)} ms`
    return `${vm}: ${late}, after copy ${second.instance} on ${second.node} had begun to write at ${second.firstAcknowledgedAtMs.toFixed(1)} ms`
  }
  if (finding.type === 'writeAfterSuccessor') {
    const late = `record ${finding.number} of copy ${finding.instance} reached the disk of ${finding.node} at ${finding.atMs.toFixed(1)} ms`
    return `${vm}: ${late}, after its successor ${finding.successor} had written there`
  }
  if (finding.type === 'acknowledgedRecordMissing') {
    const record = `record ${finding.number} of copy ${finding.instance}, acknowledged at ${finding.acknowledgedAtMs.toFixed(1)} ms`
    return `${vm}: ${record}, is not on the surviving replica on ${finding.survivor}`
  }
  if (finding.type === 'killedOnHealthyNode') {
    return `${vm}: copy ${finding.instance} ended at ${finding.atMs.toFixed(1)} ms on ${finding.node}, to which nothing had been done`
  }
  const start = `copy ${finding.instance} on ${finding.node} started from`
  if (finding.type === 'staleStart') {
    return `${vm}: ${start} record ${finding.foundNumber} although ${finding.acknowledgedNumber} had been acknowledged`
  }
  return `${vm}: ${start} a replica that was not complete (disk ${finding.disk})`
}
