/** Every recording of real DRBD 9.2.18 (drbd-utils 9.22 and 9.34) goes through the parsers: not one line may be unknown to them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { describe, expect, test } from 'vitest'
import { findRecordings } from '../../test/support/recordings.ts'
import { applyEvent, type EventsState, noEvents, parseEvent } from './events2.ts'
import { mergedResources } from './fixtures/merged.ts'
import type { Resource } from './model.ts'
import { parseShow } from './show.ts'
import { parseStatus } from './status.ts'

const [ofLabs, ofFreezeMode] = [findRecordings('drbd'), findRecordings('drbd-freeze')]
const areHere = ofLabs !== undefined && ofFreezeMode !== undefined

describe.skipIf(!areHere)('the recordings', () => {
  const files = areHere ? [ofLabs, ofFreezeMode].flatMap(filesUnder) : []
  const statusFiles = files.filter((file) => file.endsWith('.json') && !basename(file).startsWith('show') && !file.endsWith('latency.json'))
  const eventFiles = files.filter((file) => /events2.*\.txt$/.test(basename(file)))

  test('are all there', () => {
    expect(statusFiles.length).toBeGreaterThan(500)
    expect(eventFiles.length).toBeGreaterThan(100)
  })

  test('are understood as status, each one', () => {
    const found = statusFiles.map((file) => at(file, () => parseStatus(readFileSync(file, 'utf8'))))
    expect(found.flat().length).toBeGreaterThan(1000)
    expect(found.flat().some(({ suspended }) => suspended.fencing)).toBe(true)
  })

  test('are understood as status where they were polled once a second', () => {
    const polls = files.filter((file) => basename(file).startsWith('poll-status'))
    let read = 0
    for (const file of polls) {
      for (const line of readFileSync(file, 'utf8').split('\n')) {
        const json = line.slice(line.indexOf('['))
        if (!line.includes('[')) continue
        at(`${file}: ${line.slice(0, 60)}`, () => parseStatus(json))
        read += 1
      }
    }
    expect(read).toBeGreaterThan(500)
  })

  test('say the same in both versions of drbd-utils wherever they were taken together and nothing moved', () => {
    const pairs = statusFiles.filter((file) => /(?:^|\/)before\.[^/]*(?<!v9\.34)\.json$/.test(file))
    let same = 0
    for (const file of pairs) {
      const newer = file.replace(/\.json$/, '.v9.34.json')
      if (newer === file || !existsSync(newer)) continue
      expect(withoutStatistics(parseStatus(readFileSync(newer, 'utf8'))), file).toEqual(
        withoutStatistics(parseStatus(readFileSync(file, 'utf8'))),
      )
      same += 1
    }
    expect(same).toBeGreaterThan(30)
  })

  test('are understood as events, each line, and pass through the state that status gave at the time', () => {
    let compared = 0
    const differing: string[] = []
    for (const file of eventFiles) {
      const lines = readFileSync(file, 'utf8').split('\n')
      let state = noEvents
      const history: { atMs: number; resources: string }[] = []
      for (const line of lines.filter((one) => one !== '')) {
        state = at(`${file}: ${line}`, () => applyLine(state, line))
        if (state.isComplete) history.push({ atMs: Date.parse(line.split(' ')[0] ?? ''), resources: comparable(mergedResources(state)) })
      }
      expect(state.isComplete, file).toBe(true)
      for (const { snapshot, fromMs, untilMs } of snapshotsBeside(file)) {
        const before = history.findLastIndex(({ atMs }) => atMs < fromMs)
        const candidates = history.filter(({ atMs }, index) => index >= before && atMs <= untilMs)
        // Recorded before events2 was started, or after it was ended.
        if (before < 0 || candidates.length === 0) continue
        if (wasRebootedLater(file) && untilMs > (history.at(-1)?.atMs ?? 0)) continue
        const wanted = comparable(parseStatus(readFileSync(snapshot, 'utf8')))
        if (!candidates.some(({ resources }) => resources === wanted))
          differing.push(`${relative(dirname(ofLabs ?? ''), file)} and ${basename(snapshot)}`)
        compared += 1
      }
    }
    expect(compared).toBeGreaterThan(200)
    expect(differing).toEqual(knownGapsOfEvents2)
  })

  test('are understood as options', () => {
    const [shown] = parseShow(readFileSync(join(ofLabs ?? '', 'config/show-defaults.node-a2.json'), 'utf8'))
    expect(shown).toMatchObject({ name: expect.stringMatching(/^pvc-5d3b/), onSuspendedPrimaryOutdated: 'force-secondary' })
    expect(shown?.connections).toMatchObject([
      {
        peer: 'node-a1',
        peerNodeId: 0,
        fencing: 'dont-care',
        protocol: 'C',
        pingIntMs: 10_000,
        pingTimeoutMs: 500,
        allowTwoPrimaries: false,
      },
      { peer: 'node-b1', peerNodeId: 1, rrConflict: 'retry-connect' },
    ])
  })
})

/**
 * Where DRBD itself never announced a change: a resource that was brought up while events2 was running became `suspended:quorum`, and a
 * peer on its second attempt a client, without a line. So the merged state only says *when* to read the status, never *what* it is.
 */
const knownGapsOfEvents2 = ['events2-full-v9.34', 'events2'].flatMap((name) =>
  ['a1-rebooted-still-cut', 'a1-after-promote-attempts'].map(
    (snapshot) => `drbd-freeze/11-reboot-of-frozen-loser/${name}.node-a1.after-reboot.txt and ${snapshot}.node-a1.json`,
  ),
)

const applyLine = (state: EventsState, line: string): EventsState => applyEvent(state, parseEvent(line))

/** Statistics move between any two readings. */
const withoutStatistics = (resources: readonly Resource[]) =>
  resources.map((resource) => ({
    ...resource,
    volumes: resource.volumes.map((volume) => ({ ...volume, upperPending: undefined })),
    connections: resource.connections.map((connection) => ({
      ...connection,
      volumes: connection.volumes.map((volume) => ({ ...volume, outOfSyncKib: undefined })),
    })),
  }))

const comparable = (resources: readonly Resource[]): string => JSON.stringify(withoutStatistics(resources))

/** The status snapshots of the same node in the same scenario, with the time in which each was taken by the scenario's log. */
function snapshotsBeside(eventsFile: string) {
  const node = /node-[ab]\d/.exec(basename(eventsFile))?.[0]
  const log = readFileSync(join(dirname(eventsFile), 'README.md'), 'utf8').split('\n')
  const entries = log.filter((line) => /^\d{10}\.\d+ /.test(line)).map((line) => ({ line, atMs: Number(line.split(' ')[0]) * 1000 }))
  return entries.flatMap(({ line, atMs }, index) => {
    const name = /snapshot (\S+): rc/.exec(line)?.[1]
    const snapshot = join(dirname(eventsFile), `${name}.${node}.json`)
    if (name === undefined || !existsSync(snapshot)) return []
    // Taken twice under one name: the later one is on disk.
    if (entries.slice(index + 1).some((later) => later.line.includes(`snapshot ${name}: rc`))) return []
    // A snapshot is written to the log when it is complete; the guests' clocks are a few ms off.
    return [{ snapshot, fromMs: entries[index - 1]?.atMs ?? atMs, untilMs: atMs + 200 }]
  })
}

/** This recording stops where its node was switched off; another one goes on after the reboot. */
const wasRebootedLater = (eventsFile: string): boolean => {
  const node = /node-[ab]\d/.exec(basename(eventsFile))?.[0]
  return !eventsFile.includes('after-reboot') && existsSync(join(dirname(eventsFile), `events2.${node}.after-reboot.txt`))
}

function at<T>(where: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    throw new Error(`at ${where}`, { cause })
  }
}

const filesUnder = (path: string): string[] =>
  readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
