/** Real processes in process groups and, where this host lets us, in a cgroup v2: paused, resumed and killed. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Drbd, DrbdSnapshot } from '../drbd/drbdsetup.ts'
import { parseStatus } from '../drbd/status.ts'
import { type Containment, type ContainmentConfiguration, type ContainmentOptions, createContainment } from './containment.ts'
import type { ContainmentResult } from './verification.ts'

const uid = '0e5f9c1a-7d3b-4f6e-9a2c-1b8d7e6f5a40'
const nowMs = () => performance.now()
let folder = ''
let children: ChildProcess[] = []
let containments: Containment[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'roomfence-containment-'))
  mkdirSync(join(folder, 'kubelet/pods'), { recursive: true })
})
afterEach(() => {
  for (const containment of containments) containment.stop()
  for (const child of children) killGroup(child)
  containments = []
  children = []
  rmSync(folder, { recursive: true, force: true })
})

const killGroup = ({ pid }: ChildProcess) => {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Gone already.
  }
}
const podDirectory = (podUid: string) => join(folder, 'kubelet/pods', podUid)
const makePod = (podUid: string, kind: 'volumes' | 'volumeDevices' = 'volumeDevices', volume = 'pvc-1') =>
  mkdirSync(join(podDirectory(podUid), kind, 'kubernetes.io~csi', volume), { recursive: true })
/** Two processes that each append to the file as fast as a slow guest would. */
const startWriter = (file: string): ChildProcess => {
  const loop = `while :; do echo x >> ${file}; sleep 0.01; done`
  const child = spawn('/bin/sh', ['-c', `(${loop}) & ${loop}`], { detached: true, stdio: 'ignore' })
  children.push(child)
  return child
}
const startPod = (podUid: string): string => {
  makePod(podUid)
  const file = join(folder, `written-by-${podUid}`)
  const child = startWriter(file)
  writeFileSync(join(podDirectory(podUid), 'pgid'), `${child.pid}\n`)
  return file
}
const sizeOf = (file: string): number => (existsSync(file) ? statSync(file).size : 0)
const until = (holds: () => void) => vi.waitFor(holds, { timeout: 30_000, interval: 10 })
const writes = (file: string) => {
  const before = sizeOf(file)
  return until(() => expect(sizeOf(file)).toBeGreaterThan(before))
}
/** Nothing is written while another writer, which runs free, writes on and on. */
const isStill = async (file: string): Promise<void> => {
  const before = sizeOf(file)
  const other = join(folder, `free-${children.length}`)
  const witness = startWriter(other)
  await until(() => expect(sizeOf(other)).toBeGreaterThan(20))
  killGroup(witness)
  expect(sizeOf(file)).toBe(before)
}
/** Time that passes by looks and not by the clock: some thirty of them, each with all the time that a slow host needs. */
const fewLooks = () => {
  let askedTimes = 0
  return { killWithinMs: 200_000, nowMs: () => ++askedTimes * 2000 }
}
const containmentOf = (options: Partial<ContainmentOptions> = {}, configuration: Partial<ContainmentConfiguration> = {}): Containment => {
  const containment = createContainment(
    { form: 'processGroup', kubeletDirectory: join(folder, 'kubelet'), cgroupRoot: '/nowhere', ...configuration },
    { killWithinMs: 20_000, lookEveryMs: 600_000, nowMs, pauseValue: () => 'when-paused', onBreach: () => undefined, ...options },
  )
  containments.push(containment)
  return containment
}

describe('containment by process group', () => {
  test('is not verified where there is no kubelet directory: what runs here is unknown, not nothing', async () => {
    const result = await containmentOf({ ...fewLooks() }, { kubeletDirectory: join(folder, 'elsewhere') }).pause()
    expect(result).toMatchObject({ verified: false, unverified: [{ podUid: 'node', reason: expect.stringMatching(/ENOENT/) }] })
  })

  test('pauses every process of each pod, resumes them where they stood, and kills them', async () => {
    const files = [startPod(uid), startPod('second')]
    for (const file of files) await writes(file)
    const containment = containmentOf()
    const paused = await containment.pause()
    expect(paused).toMatchObject({ verified: true, unverified: [] })
    for (const file of files) await isStill(file)
    expect(await containment.resume(() => true)).toMatchObject({ resumed: true, failed: [] })
    for (const file of files) await writes(file)
    expect(await containment.kill()).toMatchObject({ verified: true })
    for (const file of files) await isStill(file)
    expect(containment.state()).toBe('killed')
    // Twice is as good as once, and a pause does not weaken it.
    expect(await containment.kill()).toMatchObject({ verified: true })
    await containment.pause()
    expect(containment.state()).toBe('killed')
  })

  test('tells which pods have processes, paused ones among them', async () => {
    const file = startPod(uid)
    await writes(file)
    makePod('without-processes')
    const containment = containmentOf()
    await containment.pause()
    expect(await containment.alive()).toEqual([uid])
    await containment.kill()
    expect(await containment.alive()).toEqual([])
  })

  test('kills what is paused', async () => {
    const file = startPod(uid)
    await writes(file)
    const containment = containmentOf()
    expect(await containment.pause()).toMatchObject({ verified: true, unverified: [] })
    expect(await containment.kill()).toMatchObject({ verified: true })
    await isStill(file)
  })

  test('does not resume without a permit, and pauses again what ran when the permit went', async () => {
    const files = [startPod('first'), startPod('second')]
    for (const file of files) await writes(file)
    const containment = containmentOf()
    await containment.pause()
    expect(await containment.resume(() => false)).toMatchObject({ resumed: false })
    for (const file of files) await isStill(file)
    // Asked once before anything, once before each pod, once after the last: the permit goes between the two pods, or right after the last.
    for (const good of [2, 3]) {
      let asked = 0
      const resumed = await containment.resume(() => ++asked <= good)
      expect(resumed, String(good)).toMatchObject({ resumed: false, again: { verified: true } })
      for (const file of files) await isStill(file)
    }
    expect(containment.state()).toBe('paused')
  })

  test('is not verified where a pause is worth nothing, and is where DRBD has suspended everything already', async () => {
    const file = startPod(uid)
    await writes(file)
    const never = await containmentOf({ pauseValue: () => 'never', ...fewLooks() }).pause()
    expect(never).toMatchObject({ verified: false, unverified: [{ podUid: uid, reason: expect.stringMatching(/page cache/) }] })
    expect(await containmentOf({ pauseValue: () => 'already-suspended' }).pause()).toMatchObject({ verified: true })
  })

  test('holds pods that are born later, and leaves exempt ones alone', async () => {
    const exempt = startPod('exempt')
    const containment = containmentOf({ lookEveryMs: 20, isExempt: (podUid) => podUid === 'exempt' })
    await containment.pause()
    const late = startPod('late')
    await until(() => expect(statesOf('late').every((state) => state === 'T' || state === 'Z')).toBe(true))
    await isStill(late)
    await writes(exempt)
  })

  test('says so at a later look when what was contained no longer is', async () => {
    const breaches: ContainmentResult[] = []
    const containment = containmentOf({ lookEveryMs: 20, ...fewLooks(), onBreach: (result) => breaches.push(result) })
    expect(await containment.pause()).toMatchObject({ verified: true })
    makePod(uid)
    writeFileSync(join(podDirectory(uid), 'pgid'), 'all of them')
    await until(() => expect(breaches.length).toBeGreaterThan(0))
    expect(breaches[0]?.unverified).toMatchObject([{ podUid: uid, reason: expect.stringMatching(/must be a process group above 1/) }])
  })

  test('says so at a later look when what was not contained in time has become so', async () => {
    const verified: string[] = []
    const containment = containmentOf({ lookEveryMs: 20, ...fewLooks(), onVerified: (wanted) => verified.push(wanted) })
    makePod(uid)
    writeFileSync(join(podDirectory(uid), 'pgid'), 'all of them')
    expect(await containment.kill()).toMatchObject({ verified: false })
    expect(verified).toEqual([])
    rmSync(podDirectory(uid), { recursive: true })
    await until(() => expect(verified).toContain('killed'))
  })

  test('never signals everybody, init or itself', async () => {
    makePod(uid)
    const own = readFileSync('/proc/self/stat', 'utf8')
      .replace(/^.*\) /, '')
      .split(' ')[2]
    for (const group of ['0', '1', '-1', '', own ?? '']) {
      writeFileSync(join(podDirectory(uid), 'pgid'), group)
      expect(await containmentOf({ ...fewLooks() }).kill()).toMatchObject({ verified: false, unverified: [{ podUid: uid }] })
    }
  })

  test('a kill cuts a pause short that cannot be verified', async () => {
    const file = startPod(uid)
    await writes(file)
    const containment = containmentOf({ pauseValue: () => 'never' })
    const paused = containment.pause()
    const killed = await containment.kill()
    expect(await paused).toMatchObject({ verified: false, isSuperseded: true })
    expect(killed).toMatchObject({ verified: true, isSuperseded: false })
  })

  // The parent of a vfork is in uninterruptible sleep until its child lets go: the one such sleep that needs no broken disk.
  const startVfork = async (childDoes: string): Promise<boolean> => {
    makePod(uid)
    const child = spawn('perl', ['-e', `if (syscall(58) == 0) { ${childDoes} }`], { detached: true, stdio: 'ignore' })
    children.push(child)
    const spawned = await new Promise((resolve) => child.once('spawn', () => resolve(true)).once('error', () => resolve(false)))
    if (spawned !== true || process.arch !== 'x64') return false
    writeFileSync(join(podDirectory(uid), 'pgid'), String(child.pid))
    // Parent and child: a perl that is still being read from a disk sleeps so for a moment, too.
    await until(() => expect([...statesOf(uid)].sort().join('')).toMatch(/^D.$/))
    return true
  }
  const noVfork = 'SKIPPED: no perl on x64 here to make a task in uninterruptible sleep'

  test('a task in uninterruptible sleep is not verified as paused, but dies', async (context) => {
    context.skip(!(await startVfork('sleep 1000 while 1')), noVfork)
    const paused = await containmentOf({ ...fewLooks() }).pause()
    expect(paused).toMatchObject({ verified: false, unverified: [{ podUid: uid, reason: expect.stringMatching(/is D/) }] })
    expect(await containmentOf().kill()).toMatchObject({ verified: true })
  })

  test('a process that was stopped in the middle of starting another one gets there, and is then paused', async (context) => {
    context.skip(!(await startVfork("sleep 1; exec 'sleep', '1000'")), noVfork)
    expect(await containmentOf().pause()).toMatchObject({ verified: true })
  })
})

describe('a kill with DRBD', () => {
  const [primary] = parseStatus(readFileSync(join(import.meta.dirname, '../drbd/fixtures/frozen-primary.status-9.22.txt'), 'utf8'))
  const drbdThat = (obeys: boolean): { drbd: Drbd; commands: string[] } => {
    const commands: string[] = []
    let role: 'Primary' | 'Secondary' = 'Primary'
    const snapshot = (): DrbdSnapshot => ({
      kind: 'known',
      readAtMs: 0,
      shownAtMs: 0,
      resources: primary === undefined ? [] : [{ ...primary, role }],
      shown: [],
      usermodeHelper: 'disabled',
      problems: [],
    })
    const drbd: Drbd = {
      snapshot,
      followerProblem: () => undefined,
      refresh: async () => snapshot(),
      onChange: () => () => undefined,
      execute: async (command) => {
        commands.push(command.kind)
        if (obeys) role = 'Secondary'
        return { exitCode: 0, message: '', snapshot: snapshot() }
      },
      stop: () => undefined,
    }
    return { drbd, commands }
  }

  test('demotes what is Primary and believes only the role that it reads afterwards', async () => {
    const obedient = drbdThat(true)
    expect(await containmentOf({ drbd: obedient.drbd }).kill()).toMatchObject({ verified: true })
    expect(obedient.commands).toEqual(['secondary-force'])
    const stubborn = drbdThat(false)
    const result = await containmentOf({ drbd: stubborn.drbd, ...fewLooks() }).kill()
    expect(result).toMatchObject({ verified: false, unverified: [{ podUid: 'drbd', reason: expect.stringMatching(/is Primary after/) }] })
  })

  test('leaves DRBD alone in a pause', async () => {
    const { drbd, commands } = drbdThat(true)
    expect(await containmentOf({ drbd }).pause()).toMatchObject({ verified: true })
    expect(commands).toEqual([])
  })
})

const parentCgroup = writableCgroup2()
if (parentCgroup === undefined) {
  const message = 'no writable cgroup v2 on this host: cgroup.freeze and cgroup.kill are not tried'
  console.warn(`SKIPPED: ${message}`)
}

describe.skipIf(parentCgroup === undefined)('containment by cgroup v2', () => {
  const root = join(parentCgroup ?? '/nowhere', `roomfence-test-${process.pid}`)
  const names = {
    systemd: `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${uid.replaceAll('-', '_')}.slice/container`,
    cgroupfs: `kubepods/besteffort/pod${uid}/container`,
    nested: `kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod${uid.replaceAll('-', '_')}.slice/container`,
  }
  const startIn = async (name: keyof typeof names): Promise<{ file: string; container: string }> => {
    const container = join(root, names[name])
    mkdirSync(container, { recursive: true })
    makePod(uid)
    const file = join(folder, 'written')
    await joinCgroup(startWriter(file), container)
    return { file, container }
  }
  afterEach(async () => {
    if (existsSync(root)) writeFileSync(join(root, 'cgroup.kill'), '1')
    await until(() => removeCgroups(root))
  })

  test.for(Object.keys(names) as (keyof typeof names)[])('pauses, resumes and kills in the %s form', async (name) => {
    const { file } = await startIn(name)
    await writes(file)
    const containment = containmentOf({}, { form: 'cgroup', cgroupRoot: root })
    expect(await containment.pause()).toMatchObject({ verified: true, unverified: [] })
    await isStill(file)
    await containment.resume(() => true)
    await writes(file)
    await containment.pause()
    expect(await containment.kill()).toMatchObject({ verified: true })
    await isStill(file)
  })

  test('what is born into a killed pod is born frozen, and dies at the next look', async () => {
    const { file, container } = await startIn('systemd')
    await writes(file)
    const containment = containmentOf({}, { form: 'cgroup', cgroupRoot: root })
    await containment.kill()
    const reborn = join(folder, 'reborn')
    await joinCgroup(startWriter(reborn), container)
    await until(() => expect(readFileSync(join(container, 'cgroup.events'), 'utf8')).toMatch(/frozen 1/))
    await isStill(reborn)
    expect(await containment.kill()).toMatchObject({ verified: true })
    expect(readFileSync(join(container, 'cgroup.events'), 'utf8')).toMatch(/populated 0/)
  })

  test('is not verified where the kubelet has no cgroup, or the root is none', async () => {
    makePod(uid)
    mkdirSync(root, { recursive: true })
    const pauseIn = (cgroupRoot: string) => containmentOf({ ...fewLooks() }, { form: 'cgroup', cgroupRoot }).pause()
    expect(await pauseIn(root)).toMatchObject({
      verified: false,
      unverified: [{ podUid: 'node', reason: expect.stringMatching(/no kubepods/) }],
    })
    expect(await pauseIn(folder)).toMatchObject({ verified: false, unverified: [{ reason: expect.stringMatching(/no cgroup v2/) }] })
  })
})

/** The state letters of the processes in the group of a pod. */
function statesOf(podUid: string): string[] {
  const group = readFileSync(join(podDirectory(podUid), 'pgid'), 'utf8').trim()
  const { stdout } = spawnSync('ps', ['-e', '-o', 'pgid=,stat='], { encoding: 'utf8' })
  const lines = stdout.split('\n').map((line) => line.trim().split(/\s+/))
  return lines.filter(([one]) => one === group).map(([, state]) => (state ?? '').slice(0, 1))
}

/** Moves every process of the group, and looks again for those that were forked meanwhile, until the group is quiet inside. */
async function joinCgroup({ pid }: ChildProcess, container: string): Promise<void> {
  await until(() => {
    const members = membersOf(String(pid))
    const inside = new Set(readFileSync(join(container, 'cgroup.procs'), 'utf8').split('\n'))
    const outside = members.filter((member) => !inside.has(member))
    for (const member of outside) {
      try {
        writeFileSync(join(container, 'cgroup.procs'), member)
      } catch {
        // A sleep that has ended meanwhile.
      }
    }
    expect([members.length >= 2, outside]).toEqual([true, []])
  })
}

const membersOf = (group: string): string[] => {
  const { stdout } = spawnSync('ps', ['-e', '-o', 'pid=,pgid=,stat='], { encoding: 'utf8' })
  const lines = stdout.split('\n').map((line) => line.trim().split(/\s+/))
  return lines.flatMap(([pid, pgid, state]) => (pid !== undefined && pgid === group && state?.startsWith('Z') !== true ? [pid] : []))
}

function writableCgroup2(): string | undefined {
  return ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find((path) => {
    if (!existsSync(join(path, 'cgroup.controllers'))) return false
    const probe = join(path, `roomfence-probe-${process.pid}`)
    try {
      mkdirSync(probe)
      const isUsable = existsSync(join(probe, 'cgroup.kill')) && existsSync(join(probe, 'cgroup.freeze'))
      removeCgroups(probe)
      return isUsable
    } catch {
      return false
    }
  })
}

function removeCgroups(path: string): void {
  if (!existsSync(path)) return
  for (const entry of readdirSync(path, { withFileTypes: true })) if (entry.isDirectory()) removeCgroups(join(path, entry.name))
  const removed = spawnSync('rmdir', [path], { encoding: 'utf8' })
  if (removed.status !== 0) throw new Error(`${dirname(path)}: ${removed.stderr}`)
}
