/** The stand-in speaks as the real drbdsetup does: the same keys as in the recordings, and what the agent's own parsers understand. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findRecordings } from '../../../test/support/recordings.ts'
import { judgeFreezeMode } from '../../drbd/freeze-mode.ts'
import { parseShow } from '../../drbd/show.ts'
import { parseStatus } from '../../drbd/status.ts'
import { runCommand } from './commands.ts'
import { type Kernel, startKernel } from './kernel.ts'
import { changedLines, existingLines } from './render.ts'

const recordings = findRecordings('drbd-freeze')

const directory = mkdtempSync(join(tmpdir(), 'roomfence-render-'))
let kernel: Kernel
beforeAll(async () => {
  kernel = await startKernel({
    directory: join(directory, 'replicas'),
    localSocket: join(directory, 'kernel.sock'),
    peerSocket: join(directory, 'peer.sock'),
    resources: [
      {
        name: 'pvc-1',
        minor: 1000,
        nodeId: 0,
        peer: { nodeId: 1, name: 'b1' },
        freeze: true,
        allowTwoPrimaries: false,
        onSuspendedPrimaryOutdated: 'force-secondary',
        rrConflict: 'retry-connect',
        pingIntMs: 1000,
        pingTimeoutMs: 500,
        connectIntMs: 500,
        resyncMs: 10,
      },
    ],
  })
})
afterAll(async () => {
  await kernel.close()
  rmSync(directory, { recursive: true, force: true })
})

const output = async (...argv: string[]): Promise<string> => (await runCommand(kernel.resources, argv)).stdout

/** All paths to keys of a JSON value; elements of arrays are taken together. */
function keys(value: unknown, path = ''): Set<string> {
  const found = new Set<string>()
  if (Array.isArray(value)) {
    for (const element of value) for (const key of keys(element, `${path}[]`)) found.add(key)
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, inner] of Object.entries(value)) {
      found.add(`${path}.${key}`)
      for (const deeper of keys(inner, `${path}.${key}`)) found.add(deeper)
    }
  }
  return found
}

const eventKeys = (line: string): string[] => [...line.matchAll(/ ([\w-]+):/g)].map((match) => match[1] ?? '')

describe.skipIf(recordings === undefined)('the words of the stand-in are those of the recordings', () => {
  const folder = join(recordings ?? '', '01-cut-primary-writing-freezes')

  test('status --json has exactly the keys that drbd-utils 9.34 prints', async () => {
    const real: unknown = JSON.parse(readFileSync(join(folder, 'before.node-a1.v9.34.json'), 'utf8'))
    const ours: unknown = JSON.parse(await output('status', '--json', '--verbose', '--statistics'))
    expect(keys(ours)).toEqual(keys(real))
  })

  test('events2 has exactly the keys of each object, in the same order', () => {
    const real = readFileSync(join(folder, 'events2.node-a1.txt'), 'utf8').split('\n')
    const resource = kernel.resources.get('pvc-1')
    if (resource === undefined) throw new Error('no resource')
    for (const line of existingLines(resource, true)) {
      const kind = line.split(' ')[1] ?? ''
      const recorded = real.find((candidate) => candidate.includes(` exists ${kind} `)) ?? ''
      expect(eventKeys(line)).toEqual(eventKeys(recorded.slice(recorded.indexOf(' exists ') + 1)))
    }
  })

  test('a freeze is told as in the recording', () => {
    const real = readFileSync(join(folder, 'events2.node-a1.txt'), 'utf8').split('\n')
    const resource = kernel.resources.get('pvc-1')
    if (resource === undefined) throw new Error('no resource')
    const connected = {
      ...resource.state(),
      role: 'Primary' as const,
      disk: 'UpToDate' as const,
      connection: 'Connected' as const,
      peerRole: 'Secondary' as const,
      peerDisk: 'UpToDate' as const,
      replication: 'Established' as const,
    }
    const lost = {
      suspendedFencing: true,
      connection: 'NetworkFailure',
      peerRole: 'Unknown',
      peerDisk: 'DUnknown',
      replication: 'Off',
    } as const
    const [first, second, third] = changedLines(resource, connected, { ...connected, ...lost }, false)
    const at = real.findIndex((line) => line.includes('suspended:fencing'))
    const plain = (line: string | undefined): string => (line ?? '').replace(/^\S+T\S+ /, '').replaceAll(/name:pvc-\S+/g, 'name:pvc-1')
    expect(first).toBe(plain(real[at]))
    const withoutFlight = plain(real[at + 1]).replace(/ ap-in-flight.*/, '')
    expect(second?.replaceAll('b1', 'node-b1')).toBe(withoutFlight)
    expect(third).toContain('replication:Off peer-disk:DUnknown')
  })
})

describe('the agent reads the stand-in', () => {
  test('status and show are understood, and show freeze mode in force until it is unlocked', async () => {
    const judge = async () => {
      const [resource] = parseStatus(await output('status', '--json', '--verbose', '--statistics'))
      const [shown] = parseShow(await output('show', '--json', '--show-defaults'))
      if (resource === undefined) throw new Error('no resource')
      return judgeFreezeMode({ resource, shown, ownRoom: 'room-a', peerRoom: () => 'room-b', usermodeHelper: 'disabled\n' })
    }
    expect(await judge()).toMatchObject({ isOn: true, reasons: [], warnings: [] })
    await output('net-options', 'pvc-1', '1', '--fencing=dont-care')
    expect(await judge()).toMatchObject({ isOn: false })
    await output('net-options', 'pvc-1', '1', '--fencing=resource-and-stonith')
    expect(await judge()).toMatchObject({ isOn: true })
  })
})
