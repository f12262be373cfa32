/** A whole takeover and the way back: the planners and the adapter against the demo's DRBD, over a link that is cut and healed. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { afterEach, describe, expect, test } from 'vitest'
import { drbdsetupProgram } from '../demo/storage/drbdsetup.ts'
import { closeAll, closers, type End, frozen, open, pair, until, written } from '../../test/support/storage-testbed.ts'
import type { DrbdCommand, NextStep } from './commands.ts'
import { createDrbd, type Drbd, type KnownDrbd } from './drbdsetup.ts'
import { judgeFreezeMode } from './freeze-mode.ts'
import { planLoser } from './loser.ts'
import { type ReplicaMemory, remember } from './memory.ts'
import type { Resource } from './model.ts'
import { planSurvivor, type SurvivorView } from './survivor.ts'

afterEach(closeAll)

const nobody: ReadonlySet<string> = new Set()

/** What a survivor knows of when nothing has happened. */
const nothingElse = {
  fenced: nobody,
  rejoining: nobody,
  statedFreezeMode: nobody,
  provedStopped: nobody,
  confirmedSecondary: nobody,
  touched: nobody,
  goodReplicas: nobody,
  staleReadsUntilMs: undefined,
}

/** One end as its agent sees it. */
async function agentOf(end: End) {
  const folder = dirname(end.socket)
  mkdirSync(folder, { recursive: true })
  const program = join(folder, 'drbdsetup')
  const events2 = [process.execPath, '--disable-warning=ExperimentalWarning', join(import.meta.dirname, '../demo/storage/events2.ts')]
  writeFileSync(program, drbdsetupProgram({ kernelSocket: end.socket, lockFolder: folder, events2 }), { mode: 0o755 })
  const procDrbd = join(folder, 'proc-drbd')
  const usermodeHelperFile = join(folder, 'usermode_helper')
  writeFileSync(procDrbd, 'version: 9.2.18\n')
  writeFileSync(usermodeHelperFile, 'disabled\n')
  const drbd = createDrbd(
    { program, procDrbd, usermodeHelperFile, readEveryMs: 600_000, timeoutMs: 30_000 },
    { nowMs: () => performance.now() },
  )
  closers.push(() => drbd.stop())
  let memory: ReplicaMemory = new Map()
  const reading = async (): Promise<{ known: KnownDrbd; resource: Resource }> => {
    const known = await drbd.refresh()
    if (known.kind !== 'known' || known.resources[0] === undefined) throw new Error(JSON.stringify(known))
    memory = remember(memory, known.resources[0], known.readAtMs)
    return { known, resource: known.resources[0] }
  }
  await reading()
  return {
    drbd,
    reading,
    freezeMode: async (ownRoom: string) => {
      const { known, resource } = await reading()
      const peerRoom = (peer: string) => peer.slice(0, 1)
      return judgeFreezeMode({ resource, shown: known.shown[0], ownRoom, peerRoom, usermodeHelper: known.usermodeHelper })
    },
    survive: (change: Partial<SurvivorView>) =>
      carryOut(drbd, async () => {
        const { known, resource } = await reading()
        const view = { ...nothingElse, resource, shown: known.shown[0], memory, nowMs: performance.now() }
        return planSurvivor({ ...view, ...change })
      }),
    lose: () => carryOut(drbd, async () => planLoser({ resource: (await reading()).resource, rejoining: nobody })),
  }
}

/** Plans, runs, reads and plans again until there is nothing to run. @returns what was run, and how it ended */
async function carryOut(drbd: Drbd, plan: () => Promise<NextStep>): Promise<{ ran: DrbdCommand['kind'][]; end: NextStep }> {
  const ran: DrbdCommand['kind'][] = []
  for (let round = 0; round < 10; round += 1) {
    const step = await plan()
    if (step.kind !== 'run') return { ran, end: step }
    ran.push(step.command.kind)
    await drbd.execute(step.command)
  }
  throw new Error(`no end: ${ran.join(', ')}`)
}

describe('a room that is cut off', () => {
  test('while its guest writes: the Secondary takes over, the loser is demoted, follows, and both have every acknowledged write', async () => {
    const { network, a, b } = await pair()
    const [loser, winner] = [await agentOf(a), await agentOf(b)]
    expect(await loser.freezeMode('a')).toMatchObject({ isOn: true, reasons: [] })
    const guest = await open(a)
    await written(guest, 'before the cut')
    await winner.reading()

    network.cut('room-a', 'room-b')
    await frozen(a)
    const hanging = guest.write('never acknowledged')
    // Nothing is fenced yet: nothing is done.
    expect(await winner.survive({ statedFreezeMode: new Set(['a1']) })).toMatchObject({ ran: [], end: { kind: 'done' } })
    const fence: Partial<SurvivorView> = { fenced: new Set(['a1']), statedFreezeMode: new Set(['a1']), touched: new Set(['a1']) }
    expect(await winner.survive(fence)).toMatchObject({ ran: ['disconnect-force', 'unlock'], end: { kind: 'done' } })
    const next = await open(b)
    await written(next, 'after the takeover')

    // The link is back, but the loser is still a frozen Primary: the winner does not let it in.
    network.heal('room-a', 'room-b')
    expect(await winner.survive({ touched: new Set(['a1']) })).toMatchObject({ ran: [], end: { kind: 'wait' } })
    expect([hanging.result(), b.state().connection]).toEqual(['hangs', 'StandAlone'])

    expect((await loser.lose()).ran).toEqual(['secondary-force'])
    await until(() => expect(hanging.result()).toBe('EIO'))
    guest.close()
    await until(() => expect(a.state().role).toBe('Secondary'))
    expect(await loser.lose()).toMatchObject({ ran: [], end: { kind: 'done' } })

    const back: Partial<SurvivorView> = { touched: new Set(['a1']), confirmedSecondary: new Set(['a1']) }
    expect((await winner.survive(back)).ran.slice(0, 1)).toEqual(['connect'])
    await until(() => expect(a.state()).toMatchObject({ connection: 'Connected', disk: 'UpToDate' }))
    expect(await winner.survive(back)).toMatchObject({ end: { kind: 'done' } })
    expect(await winner.freezeMode('b')).toMatchObject({ isOn: true })
    expect(a.resource().read()).toBe('before the cut\nafter the takeover\n')
    expect(b.resource().read()).toBe('before the cut\nafter the takeover\n')
  })

  test('while the survivor’s guest writes: the frozen Primary is cut off by force, then resumed, and its hanging write completes', async () => {
    const { network, a } = await pair()
    const survivor = await agentOf(a)
    const guest = await open(a)
    await written(guest, 'before the cut')
    await survivor.reading()
    network.cut('room-a', 'room-b')
    await frozen(a)
    const hanging = guest.write('while frozen')
    const fence: Partial<SurvivorView> = { fenced: new Set(['b1']), statedFreezeMode: new Set(['b1']), touched: new Set(['b1']) }
    expect(await survivor.survive(fence)).toMatchObject({ ran: ['disconnect-force', 'resume-io'], end: { kind: 'done' } })
    await until(() => expect(hanging.result()).toBe('ok'))
    expect(a.resource().read()).toBe('before the cut\nwhile frozen\n')
  })
})
