/** Two rooms of two nodes: one loses its power, and what it wrote comes back in the other. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { createNetwork, type Network } from '../link/network.ts'
import { createRooms, type Rooms } from './rooms.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

const until = (what: () => void): Promise<void> => vi.waitFor(what, { timeout: 30_000, interval: 20 })

async function rooms(freeze: boolean): Promise<{ network: Network; made: Rooms }> {
  const directory = mkdtempSync(join(tmpdir(), 'rf-'))
  closers.push(() => rmSync(directory, { recursive: true, force: true }))
  const network = createNetwork()
  closers.push(() => network.close())
  const made = await createRooms({
    directory,
    network,
    rooms: { 'room-a': ['a1', 'a2'], 'room-b': ['b1', 'b2'] },
    volumes: [
      { resource: 'pvc-1', writer: 'vm-1', nodes: ['a1', 'b1'] },
      { resource: 'pvc-2', writer: 'shop/database-0', nodes: ['a2', 'b2'] },
    ],
    freeze,
    node: { bootDelayMs: 10, vmIntervalMs: 10, watchdogTimeoutSeconds: 'none' },
    storage: { pingIntMs: 200, pingTimeoutMs: 200, connectIntMs: 50, resyncMs: 10 },
  })
  closers.push(() => made.stop())
  await Promise.all(made.nodesOf().map((node) => node.powerOn()))
  return { network, made }
}

const startBoth = (made: Rooms, side: 'a' | 'b'): Promise<unknown> =>
  Promise.all([
    made.nodes.get(`${side}1`)?.startPod({
      uid: `one-${side}`,
      namespace: 'default',
      name: 'virt-launcher-vm-1',
      volumes: ['pvc-1'],
      vm: { name: 'vm-1', vmiUid: side },
    }),
    made.nodes.get(`${side}2`)?.startPod({ uid: `two-${side}`, namespace: 'shop', name: 'database-0', volumes: ['pvc-2'] }),
  ])

const reached = (made: Rooms): number[] =>
  ['vm-1', 'shop/database-0'].map((vm) => made.observer.progress().get(vm)?.acknowledgedNumber ?? 0)

const everyReplica = (made: Rooms, side: string, words: string): boolean =>
  ['1', '2'].every((number) => {
    const node = made.nodes.get(`${side}${number}`)
    return node !== undefined && execFileSync(node.paths.drbdsetup, ['status']).toString().includes(words)
  })

test('what a room without power wrote comes back in the other one, machine and stateful pod alike', async () => {
  const { network, made } = await rooms(true)
  await until(() => expect(everyReplica(made, 'a', 'connection:Connected')).toBe(true))
  await startBoth(made, 'b')
  await until(() => expect(Math.min(...reached(made))).toBeGreaterThan(5))
  // The target of a migration has the volume, but not yet the guest.
  await made.nodes.get('a1')?.startPod({ uid: 'target', namespace: 'default', name: 'virt-launcher-vm-1-target', volumes: ['pvc-1'] })
  expect(made.nodes.get('a1')?.runningPods()).toEqual(new Set(['target']))
  await Promise.all(made.nodesOf('room-b').map((node) => node.powerOff()))
  expect(network.reaches({ site: 'room-b', node: 'b1' }, 'api')).toBe(false)
  expect(made.nodes.get('a1')?.reachesApi()).toBe(true)
  await until(() => expect(everyReplica(made, 'a', 'connection:Connecting')).toBe(true))
  for (const [node, resource] of [
    ['a1', 'pvc-1'],
    ['a2', 'pvc-2'],
  ] as const) {
    const program = made.nodes.get(node)?.paths.drbdsetup ?? ''
    execFileSync(program, ['disconnect', resource, '1', '--force'])
    execFileSync(program, ['net-options', resource, '1', '--fencing=dont-care'])
  }
  const before = reached(made)
  await startBoth(made, 'a')
  await until(() => expect(reached(made).every((number, index) => number > (before[index] ?? 0) + 3)).toBe(true))
  expect([...made.observer.progress().values()].map(({ node }) => node).toSorted()).toEqual(['a1', 'a2'])
  expect(made.observer.judge({ healthyNodes: new Set(['a1', 'a2']) })).toEqual([])
})

test('a room that is cut off without freeze mode and without anybody who stops it writes on beside its successors: the observer says so', async () => {
  const { network, made } = await rooms(false)
  await until(() => expect(everyReplica(made, 'a', 'connection:Connected')).toBe(true))
  await startBoth(made, 'b')
  await until(() => expect(Math.min(...reached(made))).toBeGreaterThan(5))
  network.cut('room-a', 'room-b')
  await until(() => expect(everyReplica(made, 'a', 'connection:Connecting')).toBe(true))
  await startBoth(made, 'a')
  const seen = made.observer.events().length
  await until(() => expect(made.observer.events().length).toBeGreaterThan(seen + 40))
  const wrong = made.observer.judge()
  expect(new Set(wrong.filter((finding) => finding.type === 'twoWriters').map((finding) => finding.vm))).toEqual(
    new Set(['vm-1', 'shop/database-0']),
  )
})

test('a volume on a node that does not exist is refused by its name', async () => {
  const network = createNetwork()
  closers.push(() => network.close())
  const directory = mkdtempSync(join(tmpdir(), 'rf-'))
  closers.push(() => rmSync(directory, { recursive: true, force: true }))
  const volumes = [{ resource: 'pvc-1', writer: 'vm-1', nodes: ['a1', 'c1'] as const }]
  await expect(createRooms({ directory, network, rooms: { 'room-a': ['a1'] }, volumes, freeze: true })).rejects.toThrow(
    'a volume names node c1, but the nodes are a1',
  )
})
