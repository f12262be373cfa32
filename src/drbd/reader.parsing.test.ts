import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { applyEvent, noEvents, parseEvent } from './events2.ts'
import { mergedResources } from './fixtures/merged.ts'
import { DrbdInputError } from './model.ts'
import { parseShow } from './show.ts'
import { parseStatus } from './status.ts'

const fixture = (name: string): string => readFileSync(join(import.meta.dirname, 'fixtures', name), 'utf8')
const merge = (lines: readonly string[]) => lines.reduce((state, line) => applyEvent(state, parseEvent(line)), noEvents)
const cutLines = fixture('cut.events2-9.22.txt').trimEnd().split('\n')
const at = '2026-11-23T06:32:36.365594+00:00'

describe('status', () => {
  test('is the same model from drbd-utils 9.22 and 9.34', () => {
    const [first, ...others] = parseStatus(fixture('healthy.status-9.22.txt'))
    expect(first).toEqual({
      name: 'pvc-0f1c5a52-7a0e-4b7e-9c53-2f9d1c6a7b01',
      role: 'Secondary',
      suspended: { user: false, noData: false, fencing: false, quorum: false },
      forceIoFailures: false,
      volumes: [{ volume: 0, minor: 1000, diskState: 'UpToDate', isClient: false, hasQuorum: true, upperPending: 0 }],
      connections: [
        {
          peer: 'node-b1',
          peerNodeId: 1,
          connectionState: 'Connected',
          peerRole: 'Secondary',
          volumes: [
            {
              volume: 0,
              replicationState: 'Established',
              peerDiskState: 'UpToDate',
              isPeerClient: false,
              resyncSuspended: 'no',
              outOfSyncKib: 0,
            },
          ],
        },
      ],
    })
    expect(others).toHaveLength(2)
    expect(parseStatus(fixture('healthy.status-9.34.txt'))).toEqual(parseStatus(fixture('healthy.status-9.22.txt')))
  })

  test('shows a frozen Primary and, after `secondary --force`, a Secondary whose opener is still there', () => {
    expect(parseStatus(fixture('frozen-primary.status-9.22.txt'))[0]).toMatchObject({ role: 'Primary', suspended: { fencing: true } })
    expect(parseStatus(fixture('demoted-loser.status-9.22.txt'))[0]).toMatchObject({ role: 'Secondary' })
  })

  test('of no resources is empty, not an error', () => {
    expect(parseStatus('[\n]\n')).toEqual([])
  })

  test('takes the nan and inf of printf for no statistic', () => {
    const text = fixture('healthy.status-9.22.txt').replace('"out-of-sync": 0', '"out-of-sync": nan').replace('100.00', '-nan')
    expect(parseStatus(text)[0]?.connections[0]?.volumes[0]?.outOfSyncKib).toBeUndefined()
  })

  test('that is cut short, or names a state that DRBD does not have, is an error that says where', () => {
    const text = fixture('healthy.status-9.22.txt')
    expect(() => parseStatus(text.slice(0, -40))).toThrow(/valid JSON/)
    expect(() => parseStatus(text.replace('"Connected"', '"WFConnection"'))).toThrow(
      /\[0\]\.connections\[0\]\.connection-state is WFConnection, but must be one of StandAlone/,
    )
    expect(() => parseStatus(text.replace('"suspended-fencing": false,', ''))).toThrow(/suspended-fencing is nothing/)
    expect(() => parseStatus(`[${text.trim().slice(1, -1)},${text.trim().slice(1, -1)}]`)).toThrow(/twice pvc/)
  })
})

describe('events2', () => {
  test('merges an initial dump and changes that carry only what changed', () => {
    const dump = merge(cutLines.slice(0, cutLines.findIndex((line) => line.endsWith('exists -')) + 1))
    expect(dump.isComplete).toBe(true)
    expect(mergedResources(dump)).toEqual(parseStatus(fixture('healthy.status-9.22.txt')))
    expect(mergedResources(merge(cutLines))[0]?.connections[0]).toMatchObject({
      connectionState: 'Connecting',
      peerRole: 'Unknown',
      volumes: [{ peerDiskState: 'DUnknown', replicationState: 'Off', resyncSuspended: 'no' }],
    })
  })

  test('says when lines were skipped, whatever the number', () => {
    for (const count of ['1', '-2']) expect(merge([...cutLines, `${at} - skipped ${count}`]).hasSkipped).toBe(true)
  })

  test('reads several reasons of suspension, and values that hold colons', () => {
    const name = 'name:pvc-0f1c5a52-7a0e-4b7e-9c53-2f9d1c6a7b01'
    const state = merge([...cutLines, `${at} change resource ${name} suspended:no-data,quorum`])
    expect(mergedResources(state)[0]?.suspended).toEqual({ user: false, noData: true, fencing: false, quorum: true })
    const path = parseEvent(`${at} change path ${name} peer-node-id:1 local:ipv4:10.77.0.11:7002 peer:ipv4:10.77.0.22:7002 established:no`)
    expect(path.fields.get('local')).toBe('ipv4:10.77.0.11:7002')
  })

  test('drops what belongs to a connection with it, and a device without its minor', () => {
    const name = 'name:pvc-0f1c5a52-7a0e-4b7e-9c53-2f9d1c6a7b01'
    const state = merge([
      ...cutLines,
      `${at} destroy connection ${name} peer-node-id:1 conn-name:node-b1`,
      `${at} destroy device ${name} volume:0`,
    ])
    expect(mergedResources(state)[0]).toMatchObject({ connections: [], volumes: [] })
    expect(mergedResources(applyEvent(state, parseEvent(`${at} destroy resource ${name}`)))).toHaveLength(2)
    const renamed = applyEvent(state, parseEvent(`${at} rename resource ${name} new_name:other`))
    expect(mergedResources(renamed).map((resource) => resource.name)).toContain('other')
  })

  test('that change what was never announced are an error: lines were lost', () => {
    expect(() => applyEvent(noEvents, parseEvent(`${at} change resource name:x role:Primary`))).toThrow(/a resource that exists/)
    expect(() => merge([...cutLines, `${at} change device name:pvc-0f1c5a52-7a0e-4b7e-9c53-2f9d1c6a7b01 volume:7 disk:UpToDate`])).toThrow(
      DrbdInputError,
    )
  })
})

describe('hostile input', () => {
  const vocabulary = `exists change destroy create rename call - skipped resource device connection peer-device path name:r name: volume:0 volume:-1
    peer-node-id:1 conn-name:b1 role:Primary role:Boss suspended:no : disk:UpToDate client:no quorum:yes minor:1 connection:Connected replication:Off
    peer-disk:DUnknown nan ${at}`
  const words = fc.constantFrom(...vocabulary.split(/\s+/))
  const line = fc.oneof(
    fc.string(),
    fc.array(fc.oneof(words, fc.string({ maxLength: 12 })), { maxLength: 12 }).map((all) => all.join(' ')),
    fc
      .tuple(fc.constantFrom(...cutLines), fc.nat(), fc.string({ maxLength: 3 }))
      .map(([text, cut, extra]) => text.slice(0, cut % text.length) + extra),
  )
  const onlyTyped = (read: () => unknown) => {
    try {
      read()
    } catch (error) {
      if (!(error instanceof DrbdInputError)) throw error
    }
  }

  test('never makes events2 throw anything but the typed error', () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 20 }), (lines) => {
        let state = merge(cutLines)
        for (const one of lines) onlyTyped(() => (state = applyEvent(state, parseEvent(one))))
      }),
      { numRuns: 300 },
    )
  })

  test('never makes status or show throw anything but the typed error', () => {
    const texts = [fixture('healthy.status-9.22.txt'), fixture('show-defaults.txt')]
    const damaged = fc
      .tuple(fc.constantFrom(...texts), fc.nat(), fc.nat({ max: 30 }), fc.constantFrom('', 'null', '[]', '{}', '-1', '"', '1e999', 'nan'))
      .map(([text, where, length, extra]) => {
        const start = where % text.length
        return text.slice(0, start) + extra + text.slice(start + length)
      })
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), damaged), (text) => {
        onlyTyped(() => parseStatus(text))
        onlyTyped(() => parseShow(text))
      }),
      { numRuns: 500 },
    )
  })
})
