/** The observer sees each violation in a made-up history, and none in a history that is right. */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { VmEvent } from '../vm/vm.ts'
import { describeFinding, type History, type JournalEntry, judge, type ReplicaHistory } from './judge.ts'
import { readJournal } from './observer.ts'

const opened = (atMs: number, instance: string, node: string, lastNumber: number, disk = 'UpToDate', isComplete = true): VmEvent => ({
  type: 'opened',
  atMs,
  vm: 'vm-1',
  instance,
  node,
  disk,
  lastNumber,
  isComplete,
})
const acknowledged = (atMs: number, instance: string, node: string, number: number): VmEvent => ({
  type: 'acknowledged',
  atMs,
  vm: 'vm-1',
  instance,
  node,
  number,
})
const applied = (atMs: number, instance: string, number: number, origin: JournalEntry['origin'] = 'local'): JournalEntry => ({
  atMs,
  origin,
  vm: 'vm-1',
  instance,
  number,
})
const replica = (node: string, journal: JournalEntry[], content: string[]): ReplicaHistory => ({
  resource: 'pvc-1',
  node,
  journal,
  content,
})
const history = (events: VmEvent[], survivor: ReplicaHistory, ...others: ReplicaHistory[]): History => ({
  events,
  replicas: [survivor, ...others],
  survivors: new Map([['vm-1', survivor]]),
  healthyNodes: new Set(),
})
const types = (given: History): string[] => judge(given).map((finding) => finding.type)

/** A right failover: copy `x` in room A writes 1 and 2, its write of 3 hangs, copy `y` in room B goes on. */
const rightEvents = [
  opened(0, 'x', 'a1', 0),
  acknowledged(10, 'x', 'a1', 1),
  acknowledged(20, 'x', 'a1', 2),
  opened(100, 'y', 'b1', 2),
  acknowledged(110, 'y', 'b1', 3),
]
const rightSurvivor = replica(
  'b1',
  [applied(9, 'x', 1, 'peer'), applied(19, 'x', 2, 'peer'), applied(109, 'y', 3)],
  ['vm-1 x 1', 'vm-1 x 2', 'vm-1 y 3', ''],
)
const rightLoser = replica('a1', [applied(9, 'x', 1), applied(19, 'x', 2), applied(29, 'x', 3)], ['vm-1 x 1', 'vm-1 x 2', 'vm-1 x 3', ''])

describe('the observer', () => {
  test('finds nothing in a right failover, not even in the write that hung on the lost disk', () => {
    expect(judge(history(rightEvents, rightSurvivor, rightLoser))).toEqual([])
  })

  test('sees a copy whose record was acknowledged after its successor had begun to write', () => {
    const late = history([...rightEvents, acknowledged(120, 'x', 'a1', 3)], {
      ...rightSurvivor,
      content: [...rightSurvivor.content, 'vm-1 x 3'],
    })
    expect(judge(late)).toMatchObject([
      {
        type: 'twoWriters',
        first: { instance: 'x', node: 'a1', lastAcknowledgedAtMs: 120, number: 3 },
        second: { instance: 'y', node: 'b1', firstAcknowledgedAtMs: 110 },
      },
    ])
  })

  test('sees a record of an old copy that reached a disk after its successor wrote there, acknowledged or not', () => {
    const damaged = { ...rightSurvivor, journal: [...rightSurvivor.journal, applied(130, 'x', 3, 'peer')] }
    expect(judge(history(rightEvents, damaged))).toMatchObject([
      { type: 'writeAfterSuccessor', instance: 'x', successor: 'y', number: 3, node: 'b1' },
    ])
  })

  test('sees an acknowledged record that is missing on the surviving replica, even where another copy used its number again', () => {
    const lost = history(
      [
        opened(0, 'x', 'a1', 0),
        acknowledged(10, 'x', 'a1', 1),
        opened(50, 'y', 'b1', 1),
        acknowledged(60, 'y', 'b1', 2),
        acknowledged(20, 'x', 'a1', 2),
      ],
      replica('b1', [], ['vm-1 x 1', 'vm-1 y 2']),
    )
    expect(types(lost)).toEqual(['acknowledgedRecordMissing', 'staleStart'])
    expect(judge(lost)[0]).toMatchObject({ instance: 'x', number: 2, acknowledgedAtMs: 20, survivor: 'b1' })
  })

  test('sees a start from fewer records than were acknowledged before it', () => {
    const stale = history(
      [opened(0, 'x', 'a1', 0), acknowledged(10, 'x', 'a1', 1), acknowledged(20, 'x', 'a1', 2), opened(100, 'y', 'b1', 1)],
      replica('b1', [], ['vm-1 x 1', 'vm-1 x 2']),
    )
    expect(judge(stale)).toMatchObject([{ type: 'staleStart', instance: 'y', foundNumber: 1, acknowledgedNumber: 2 }])
  })

  test('sees a start from a disk that was not UpToDate, and from one with a gap', () => {
    const survivor = replica('b1', [], [])
    expect(types(history([opened(0, 'x', 'b1', 0, 'Outdated')], survivor))).toEqual(['startFromIncompleteReplica'])
    expect(types(history([opened(0, 'x', 'b1', 5, 'UpToDate', false)], survivor))).toEqual(['startFromIncompleteReplica'])
  })

  test('judges nothing missing while no replica is settled as the surviving one', () => {
    expect(judge({ events: rightEvents, replicas: [], survivors: new Map(), healthyNodes: new Set() })).toEqual([])
  })

  test('sees a copy that ended on a node to which nothing had been done, and none on the nodes that were struck', () => {
    const killed = { ...history(rightEvents, rightSurvivor), healthyNodes: new Set(['b1', 'b2']) }
    const end = (instance: string, node: string): VmEvent => ({ type: 'ended', atMs: 150, vm: 'vm-1', instance, node })
    expect(judge({ ...killed, events: [...rightEvents, end('x', 'a1')] })).toEqual([])
    expect(judge({ ...killed, events: [...rightEvents, end('y', 'b1')] })).toEqual([
      { type: 'killedOnHealthyNode', vm: 'vm-1', instance: 'y', node: 'b1', atMs: 150 },
    ])
  })

  test('describes every finding in words that name the machine', () => {
    const wrong = history(
      [...rightEvents, acknowledged(120, 'x', 'a1', 9), opened(200, 'z', 'a2', 1, 'Outdated')],
      replica('b1', [applied(1, 'x', 1), applied(2, 'y', 2), applied(3, 'x', 3)], []),
    )
    const ended: VmEvent = { type: 'ended', atMs: 300, vm: 'vm-1', instance: 'y', node: 'b1' }
    const findings = judge({ ...wrong, events: [...wrong.events, ended], healthyNodes: new Set(['b1']) })
    expect(new Set(findings.map((finding) => finding.type)).size).toBe(6)
    for (const finding of findings) expect(describeFinding(finding)).toMatch(/^vm-1: .*(copy|record) /)
  })

  test('a journal is read without the line that a power loss tore', () => {
    expect(readJournal('1.5 local vm-1 x 1\n2.5 peer vm-1 x 2\n3 resync 2\n4 local vm')).toEqual([
      { atMs: 1.5, origin: 'local', vm: 'vm-1', instance: 'x', number: 1 },
      { atMs: 2.5, origin: 'peer', vm: 'vm-1', instance: 'x', number: 2 },
      { atMs: 3, origin: 'resync', vm: '', instance: '', number: 0 },
    ])
  })

  test('copies one after the other are never a finding; any overlap of two of them always is', () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 2, maxLength: 6 })
    fc.assert(
      fc.property(lengths, fc.boolean(), fc.nat(), (counts, overlaps, pick) => {
        const events: VmEvent[] = []
        const content: string[] = []
        let number = 0
        let atMs = 0
        for (const [copy, count] of counts.entries()) {
          events.push(opened(++atMs, `copy-${copy}`, `n${copy}`, number))
          for (let index = 0; index < count; index++) {
            events.push(acknowledged(++atMs, `copy-${copy}`, `n${copy}`, ++number))
            content.push(`vm-1 copy-${copy} ${number}`)
          }
        }
        if (overlaps) {
          const ghost = pick % (counts.length - 1)
          events.push(acknowledged(++atMs, `copy-${ghost}`, `n${ghost}`, ++number))
          content.push(`vm-1 copy-${ghost} ${number}`)
        }
        const found = types(history(events, replica('b1', [], content)))
        expect(found.includes('twoWriters')).toBe(overlaps)
        if (!overlaps) expect(found).toEqual([])
      }),
    )
  })
})
