/** The DRBD stand-in under hostile links: in freeze mode nothing acknowledged is lost, whatever the link does and however often the sides change. */
import { afterEach, expect, test } from 'vitest'
import { closeAll, type End, open, pair, until } from '../../../test/support/storage-testbed.ts'

afterEach(closeAll)

/** A small generator of pseudo-random numbers below 1, the same for the same seed. */
function dice(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return state / 2_147_483_648
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Writes numbered records one after the other as a VM does; `stop` ends it after the last answer that came. */
async function startWriter(at: End, name: string, acknowledged: string[]): Promise<{ stop: () => void }> {
  const device = await open(at)
  expect(device.answer).toMatchObject({ ok: true })
  const end = new AbortController()
  void (async () => {
    for (let number = 1; !end.signal.aborted; number++) {
      const line = `${name} ${number}`
      const write = device.write(line)
      while (!end.signal.aborted && write.result() === 'hangs') await pause(1)
      if (write.result() === 'ok') acknowledged.push(line)
      if (write.result() === 'EIO') return
    }
  })()
  return {
    stop: () => {
      end.abort()
      device.close()
    },
  }
}

const isTogether = ({ connection, disk, replication }: ReturnType<End['state']>): boolean =>
  connection === 'Connected' && disk === 'UpToDate' && replication === 'Established'

test.each([1, 2, 3])('a link that flaps loses no acknowledged record and leaves two equal replicas (seed %i)', async (seed) => {
  const { network, a, b } = await pair({ pingIntMs: 40, pingTimeoutMs: 40, connectIntMs: 20, resyncMs: 5 })
  const roll = dice(seed)
  const acknowledged: string[] = []
  const writer = await startWriter(a, 'vm', acknowledged)
  for (let round = 0; round < 12; round++) {
    const kind = roll()
    if (kind < 0.5) network.cut('room-a', 'room-b')
    else if (kind < 0.7) network.cut('room-a', 'room-b', { direction: 'forward' })
    else if (kind < 0.9) network.cut('room-b', 'room-a', { direction: 'forward' })
    else network.setFaults('room-a', 'room-b', { delayMs: 20, lossPercent: 30 })
    await pause(roll() * 200)
    network.healAll()
    await pause(roll() * 100)
  }
  await until(() => expect([isTogether(a.state()), isTogether(b.state())]).toEqual([true, true]))
  const before = acknowledged.length
  await until(() => expect(acknowledged.length).toBeGreaterThan(before))
  writer.stop()
  await until(() => expect([a.state().role, a.state().pendingWrites]).toEqual(['Secondary', 0]))
  await until(() => expect(b.resource().read()).toBe(a.resource().read()))
  const present = new Set(b.resource().read().split('\n'))
  expect(acknowledged.filter((line) => !present.has(line))).toEqual([])
})

test.each([4, 5])('sides that take over from each other by the rules lose no acknowledged record (seed %i)', async (seed) => {
  const { network, a, b, reboot } = await pair({ pingIntMs: 40, pingTimeoutMs: 40, connectIntMs: 20, resyncMs: 5 })
  const roll = dice(seed)
  const acknowledged: string[] = []
  let [primary, secondary] = [a, b]
  let writer = await startWriter(primary, 'copy-0', acknowledged)
  for (let round = 1; round <= 5; round++) {
    await pause(20 + roll() * 60)
    const loserReboots = roll() < 0.5
    if (roll() < 0.5) network.cut('room-a', 'room-b')
    // By the survivor, on a healthy network or a cut one.
    expect(await secondary.run('disconnect', 'pvc-1', String(secondary.resource().config.peer.nodeId), '--force')).toBe(0)
    expect(secondary.state()).toMatchObject({ disk: 'UpToDate', connection: 'StandAlone' })
    await secondary.run('net-options', 'pvc-1', String(secondary.resource().config.peer.nodeId), '--fencing=dont-care')
    const successor = await startWriter(secondary, `copy-${round}`, acknowledged)
    await pause(roll() * 60)
    // The loser: demoted or rebooted, then and only then the way back.
    if (loserReboots) await reboot(primary)
    else await primary.run('secondary', '--force', 'pvc-1')
    writer.stop()
    network.healAll()
    await secondary.run('connect', 'pvc-1', String(secondary.resource().config.peer.nodeId))
    await until(() => expect([isTogether(a.state()), isTogether(b.state())]).toEqual([true, true]))
    await secondary.run('net-options', 'pvc-1', String(secondary.resource().config.peer.nodeId), '--fencing=resource-and-stonith')
    ;[primary, secondary] = [secondary, primary]
    writer = successor
  }
  writer.stop()
  await until(() => expect(primary.state().role).toBe('Secondary'))
  await until(() => expect(b.resource().read()).toBe(a.resource().read()))
  const present = new Set(b.resource().read().split('\n'))
  expect(acknowledged.filter((line) => !present.has(line))).toEqual([])
  expect(new Set(acknowledged.map((line) => line.split(' ')[0])).size).toBe(6)
})
