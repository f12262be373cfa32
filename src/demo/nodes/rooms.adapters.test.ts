/** The agent's own adapters on the demo's nodes: DRBD read and commanded through the stand-in, machines paused and killed by containment. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { createContainment } from '../../containment/containment.ts'
import { openWatchdog } from '../../containment/watchdog.ts'
import { createDrbd, type Drbd } from '../../drbd/drbdsetup.ts'
import { judgeFreezeMode } from '../../drbd/freeze-mode.ts'
import { type ReplicaMemory, remember } from '../../drbd/memory.ts'
import { planSurvivor, type SurvivorView } from '../../drbd/survivor.ts'
import { createNetwork } from '../link/network.ts'
import type { DemoNode } from './node.ts'
import { createRooms, type Rooms } from './rooms.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

const until = (what: () => void | Promise<void>): Promise<void> => vi.waitFor(what, { timeout: 30_000, interval: 30 })
const nowMs = (): number => performance.now()

function drbdOf(node: DemoNode): Drbd {
  const { drbdsetup, procDrbd, usermodeHelper } = node.paths
  const drbd = createDrbd({ program: drbdsetup, procDrbd, usermodeHelperFile: usermodeHelper, readEveryMs: 500 }, { nowMs })
  closers.push(() => drbd.stop())
  return drbd
}

async function resourceOf(drbd: Drbd) {
  const snapshot = await drbd.refresh()
  if (snapshot.kind !== 'known') throw new Error(`DRBD is ${snapshot.kind}`)
  const [resource] = snapshot.resources
  if (resource === undefined) throw new Error('no resource')
  return { snapshot, resource }
}

/** Plans and runs until nothing is left to do, reading the state again after each command; what was run. */
async function execute(drbd: Drbd, view: (planned: Pick<SurvivorView, 'resource' | 'shown' | 'nowMs'>) => SurvivorView): Promise<string[]> {
  const ran: string[] = []
  for (;;) {
    const { snapshot, resource } = await resourceOf(drbd)
    const step = planSurvivor(view({ resource, shown: snapshot.shown[0], nowMs: nowMs() }))
    if (step.kind === 'done') return ran
    if (step.kind === 'blocked') throw new Error(step.reason)
    if (step.kind === 'wait') await new Promise((resolve) => setTimeout(resolve, 30))
    else {
      ran.push(step.command.kind)
      await drbd.execute(step.command)
    }
  }
}

const acknowledged = (made: Rooms): number => made.observer.progress().get('vm-1')?.acknowledgedNumber ?? 0

test('a cut room is taken over and comes back by the agent’s own plans, and nothing acknowledged is lost', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'rf-'))
  closers.push(() => rmSync(directory, { recursive: true, force: true }))
  const network = createNetwork()
  closers.push(() => network.close())
  const made = await createRooms({
    directory,
    network,
    rooms: { 'room-a': ['a1'], 'room-b': ['b1'] },
    volumes: [{ resource: 'pvc-1', writer: 'vm-1', nodes: ['a1', 'b1'] }],
    freeze: true,
    node: { bootDelayMs: 10, vmIntervalMs: 10 },
    storage: { connectIntMs: 50, resyncMs: 10 },
  })
  closers.push(() => made.stop())
  const [a, b] = [made.nodes.get('a1'), made.nodes.get('b1')]
  if (a === undefined || b === undefined) throw new Error('no nodes')
  await Promise.all([a.powerOn(), b.powerOn()])
  const [drbdA, drbdB] = [drbdOf(a), drbdOf(b)]
  await until(async () => expect((await resourceOf(drbdA)).resource.connections[0]?.connectionState).toBe('Connected'))
  const { snapshot, resource } = await resourceOf(drbdA)
  const judgement = judgeFreezeMode({
    resource,
    shown: snapshot.shown[0],
    ownRoom: 'room-a',
    peerRoom: () => 'room-b',
    usermodeHelper: snapshot.usermodeHelper,
  })
  expect(judgement).toMatchObject({ isOn: true, reasons: [], warnings: [] })
  let memory: ReplicaMemory = remember(new Map(), resource, nowMs())

  const containment = createContainment(
    { form: 'processGroup', kubeletDirectory: b.paths.kubelet, cgroupRoot: '/sys/fs/cgroup' },
    { killWithinMs: 10_000, lookEveryMs: 1000, nowMs, pauseValue: () => 'when-paused', drbd: drbdB, onBreach: () => undefined },
  )
  closers.push(() => containment.stop())
  const vm = { name: 'vm-1', vmiUid: 'vmi' }
  await b.startPod({ uid: 'one', namespace: 'default', name: 'virt-launcher-vm-1', volumes: ['pvc-1'], vm })
  await until(() => expect(acknowledged(made)).toBeGreaterThan(5))

  // A pause and its end: the machine goes on where it stood.
  expect(await containment.pause()).toMatchObject({ verified: true })
  const paused = acknowledged(made)
  expect((await containment.resume(() => true)).resumed).toBe(true)
  await until(() => expect(acknowledged(made)).toBeGreaterThan(paused))

  network.cut('room-a', 'room-b')
  await until(async () => expect((await resourceOf(drbdB)).resource.suspended.fencing).toBe(true))
  memory = remember(memory, (await resourceOf(drbdA)).resource, nowMs())
  const touched = new Set(['b1'])
  const common = { statedFreezeMode: new Set(['b1']), provedStopped: new Set<string>(), touched, goodReplicas: new Set<string>() }
  const fenced = (planned: Pick<SurvivorView, 'resource' | 'shown' | 'nowMs'>): SurvivorView => ({
    ...planned,
    ...common,
    fenced: new Set(['b1']),
    rejoining: new Set(),
    confirmedSecondary: new Set(),
    memory,
    staleReadsUntilMs: undefined,
  })
  expect(await execute(drbdA, fenced)).toEqual(['disconnect-force', 'unlock'])
  await a.startPod({ uid: 'two', namespace: 'default', name: 'virt-launcher-vm-1', volumes: ['pvc-1'], vm })
  await until(() => expect(made.observer.progress().get('vm-1')?.firstAcknowledgedAtMs).toBeDefined())

  // The fenced side learns of it: machines killed, disk demoted.
  expect(await containment.kill()).toMatchObject({ verified: true })
  expect((await resourceOf(drbdB)).resource.role).toBe('Secondary')
  expect(b.runningPods().size).toBe(0)
  network.healAll()
  const rejoined = await execute(drbdA, (planned) => ({
    ...fenced(planned),
    rejoining: new Set(['b1']),
    confirmedSecondary: new Set(['b1']),
  }))
  expect(rejoined).toEqual(expect.arrayContaining(['connect', 'relock']))
  await until(async () => expect((await resourceOf(drbdB)).resource.volumes[0]?.diskState).toBe('UpToDate'))
  await a.stopPod('two')
  expect(made.observer.judge({ survivingNode: () => 'a1' })).toEqual([])
  expect(made.observer.judge({ survivingNode: () => 'b1' })).toEqual([])
})

test('the agent’s watchdog adapter arms, pets and disarms the watchdog of a node; abandoned, it resets the node', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'rf-'))
  closers.push(() => rmSync(directory, { recursive: true, force: true }))
  const network = createNetwork()
  closers.push(() => network.close())
  const made = await createRooms({
    directory,
    network,
    rooms: { 'room-a': ['a1'] },
    volumes: [],
    freeze: true,
    node: { bootDelayMs: 10, watchdogTimeoutSeconds: 1 },
  })
  closers.push(() => made.stop())
  const node = made.nodes.get('a1')
  if (node === undefined) throw new Error('no node')
  await node.powerOn()
  const firstBoot = node.bootId
  const open = () => openWatchdog({ kind: 'device', device: node.paths.watchdog, timeoutFile: node.paths.watchdogTimeout })
  const disarmed = open()
  expect(disarmed?.pet()).toEqual({ kind: 'written' })
  expect(disarmed?.disarm()).toEqual({ kind: 'written' })
  await new Promise((resolve) => setTimeout(resolve, 1300))
  expect(node.bootId).toBe(firstBoot)
  const abandoned = open()
  expect(abandoned?.pet()).toEqual({ kind: 'written' })
  abandoned?.abandon()
  await until(() => expect(node.bootId).not.toBe(firstBoot))
})
