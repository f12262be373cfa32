/** The DRBD stand-in, two kernels over the faulty link, does what the recordings of real DRBD show. */
import { connect } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { runCommand } from './commands.ts'
import { closeAll, closers, frozen, open, pair, until, written } from '../../../test/support/storage-testbed.ts'

afterEach(closeAll)

describe('freeze mode', () => {
  test('an acknowledged write is on both replicas', async () => {
    const { a, b } = await pair()
    const device = await open(a)
    await written(device, 'one')
    expect([a.resource().read(), b.resource().read()]).toEqual(['one\n', 'one\n'])
    expect([a.state().role, b.state().peerRole]).toEqual(['Primary', 'Primary'])
    expect((await open(b)).answer).toEqual({ error: 'EROFS', reason: 'Multiple primaries not allowed by config (-1)' })
    device.close()
    await until(() => expect(a.state().role).toBe('Secondary'))
  })

  test('a cut hangs the Primary until the heal, which thaws it and completes its write', async () => {
    const { network, a, b } = await pair()
    const device = await open(a)
    await written(device, 'one')
    network.cut('room-a', 'room-b')
    const hanging = device.write('two')
    await frozen(a)
    const held = device.write('three')
    expect([hanging.result(), held.result(), b.resource().read()]).toEqual(['hangs', 'hangs', 'one\n'])
    expect(a.resource().read()).toBe('one\ntwo\n')
    network.heal('room-a', 'room-b')
    await until(() => expect([hanging.result(), held.result()]).toEqual(['ok', 'ok']))
    await until(() => expect(b.resource().read()).toBe('one\ntwo\nthree\n'))
    expect(a.state()).toMatchObject({ suspendedFencing: false, disk: 'UpToDate', role: 'Primary' })
  })

  test('an idle Primary freezes, too, in the very change in which the connection is lost', async () => {
    const { network, a } = await pair()
    await open(a)
    const seen: string[] = []
    const socket = connect(a.socket)
    closers.push(() => socket.destroy())
    socket.setEncoding('utf8').on('data', (chunk) =>
      seen.push(
        ...String(chunk)
          .split('\n')
          .filter((line) => line !== ''),
      ),
    )
    socket.write(`${JSON.stringify({ type: 'events', argv: [] })}\n`)
    await until(() => expect(seen).toContain('exists -'))
    network.cut('room-a', 'room-b')
    await frozen(a)
    await until(() => expect(seen.some((line) => line.includes('connection:Connecting'))).toBe(true))
    const start = seen.indexOf('exists -') + 1
    expect(seen[start]).toBe('change resource name:pvc-1 suspended:fencing may_promote:no promotion_score:10101')
    expect(seen[start + 1]).toBe('change connection name:pvc-1 peer-node-id:1 conn-name:b1 connection:NetworkFailure role:Unknown')
  })

  test('a Secondary whose peer is unknown cannot be promoted, although it says may_promote, until it is unlocked', async () => {
    const { network, a, b } = await pair()
    const device = await open(a)
    await written(device, 'one')
    network.cut('room-a', 'room-b')
    await until(() => expect(b.state().connection).toBe('Connecting'))
    expect((await open(b)).answer).toMatchObject({ error: 'EROFS', reason: expect.stringContaining('(-7)') })
    expect(await b.run('primary', 'pvc-1')).toBe(11)
    expect(await b.run('resume-io', '1000')).toBe(0)
    expect((await open(b)).answer).toMatchObject({ error: 'EROFS' })
    expect(await b.run('net-options', 'pvc-1', '0', '--fencing=dont-care')).toBe(0)
    const winner = await open(b)
    expect(winner.answer).toEqual({ ok: true, disk: 'UpToDate' })
    await written(winner, 'two')
  })

  test('a forced disconnect of the Secondary keeps it UpToDate and freezes the Primary; a plain one outdates the Secondary and the Primary goes on', async () => {
    const forced = await pair()
    const device = await open(forced.a)
    await written(device, 'one')
    expect(await forced.b.run('disconnect', 'pvc-1', '0', '--force')).toBe(0)
    expect(forced.b.state()).toMatchObject({ connection: 'StandAlone', disk: 'UpToDate' })
    await frozen(forced.a)

    const plain = await pair()
    const other = await open(plain.a)
    await written(other, 'one')
    expect(await plain.b.run('disconnect', 'pvc-1', '0')).toBe(0)
    expect(plain.b.state()).toMatchObject({ connection: 'StandAlone', disk: 'Outdated' })
    await written(other, 'two')
    expect(plain.a.state()).toMatchObject({ suspendedFencing: false, peerDisk: 'Outdated' })
  })

  test('resume-io lets the winner that is the frozen Primary go on, and the peer comes back as its sync target', async () => {
    const { network, a, b } = await pair()
    const device = await open(a)
    await written(device, 'one')
    network.cut('room-a', 'room-b')
    const hanging = device.write('two')
    await frozen(a)
    expect(await a.run('disconnect', 'pvc-1', '1', '--force')).toBe(0)
    expect(await a.run('resume-io', '1000')).toBe(0)
    await until(() => expect(hanging.result()).toBe('ok'))
    await written(device, 'three')
    await until(() => expect(b.state().connection).toBe('Connecting'))
    network.heal('room-a', 'room-b')
    expect(await a.run('connect', 'pvc-1', '1')).toBe(0)
    await until(() => expect(b.state()).toMatchObject({ disk: 'UpToDate', replication: 'Established' }))
    expect(b.resource().read()).toBe('one\ntwo\nthree\n')
  })

  test('a loser demoted before the reconnect gets errors, loses nothing acknowledged, and is overwritten by the winner', async () => {
    const { network, a, b } = await pair()
    const device = await open(a)
    await written(device, 'one')
    network.cut('room-a', 'room-b')
    const hanging = device.write('unacknowledged')
    await frozen(a)
    await b.run('disconnect', 'pvc-1', '0', '--force')
    await b.run('net-options', 'pvc-1', '0', '--fencing=dont-care')
    const winner = await open(b)
    await written(winner, 'two')
    expect(await a.run('secondary', 'pvc-1')).toBe(11)
    expect(await a.run('secondary', 'pvc-1', '--force')).toBe(0)
    await until(() => expect(hanging.result()).toBe('EIO'))
    expect(a.state()).toMatchObject({ role: 'Secondary', suspendedFencing: true, forceIoFailures: true })
    device.close()
    await until(() => expect(a.state().forceIoFailures).toBe(false))
    network.heal('room-a', 'room-b')
    await b.run('connect', 'pvc-1', '0')
    await until(() => expect(a.state()).toMatchObject({ disk: 'UpToDate', suspendedFencing: false, replication: 'Established' }))
    expect(a.resource().read()).toBe('one\ntwo\n')
    await written(winner, 'three')
    expect(a.resource().read()).toBe('one\ntwo\nthree\n')
  })

  test('a frozen Primary that meets a winner that wrote is demoted and overwritten; with the default policies both stay alone', async () => {
    for (const policies of ['force', 'default'] as const) {
      const { network, a, b } = await pair(
        policies === 'force' ? {} : { onSuspendedPrimaryOutdated: 'disconnect', rrConflict: 'disconnect' },
      )
      const device = await open(a)
      await written(device, 'one')
      network.cut('room-a', 'room-b')
      const hanging = device.write('unacknowledged')
      await frozen(a)
      await until(() => expect(b.state().connection).toBe('Connecting'))
      await b.run('net-options', 'pvc-1', '0', '--fencing=dont-care')
      await written(await open(b), 'two')
      network.heal('room-a', 'room-b')
      await until(() => expect(hanging.result()).toBe('EIO'))
      if (policies === 'force') {
        await until(() => expect(a.state()).toMatchObject({ role: 'Secondary', disk: 'UpToDate' }))
        expect(a.resource().read()).toBe('one\ntwo\n')
      } else {
        await until(() => expect([a.state().connection, b.state().connection]).toEqual(['StandAlone', 'StandAlone']))
        expect(a.state()).toMatchObject({ role: 'Primary', disk: 'Outdated', suspendedFencing: false })
      }
    }
  })

  test('the hole: a frozen Primary that meets a newer generation without writes acknowledges its hanging write, then loses it', async () => {
    const { network, a, b } = await pair()
    const device = await open(a)
    await written(device, 'one')
    network.cut('room-a', 'room-b')
    const hanging = device.write('acknowledged and erased')
    await frozen(a)
    await until(() => expect(b.state().connection).toBe('Connecting'))
    await b.run('net-options', 'pvc-1', '0', '--fencing=dont-care')
    await b.run('primary', 'pvc-1')
    await b.run('resume-io', '1000')
    await b.run('secondary', 'pvc-1')
    network.heal('room-a', 'room-b')
    await until(() => expect(hanging.result()).toBe('ok'))
    await until(() => expect(a.state()).toMatchObject({ disk: 'UpToDate', replication: 'Established' }))
    expect([a.resource().read(), b.resource().read()]).toEqual(['one\n', 'one\n'])
    await written(device, 'two')
    expect(b.resource().read()).toBe('one\ntwo\n')
  })

  test('a node that booted without its peer claims Consistent and stays locked', async () => {
    const { network, a, reboot } = await pair()
    const device = await open(a)
    await written(device, 'one')
    network.isolate('a1')
    await reboot(a)
    expect(a.state()).toMatchObject({ disk: 'Consistent', role: 'Secondary', connection: 'Connecting' })
    expect((await open(a)).answer).toMatchObject({ error: 'EROFS' })
    network.restore('a1')
    await until(() => expect(a.state()).toMatchObject({ disk: 'UpToDate', connection: 'Connected' }))
  })

  test('a Secondary that outdates itself after a forced disconnect cannot be promoted', async () => {
    const { b } = await pair()
    await b.run('disconnect', 'pvc-1', '0', '--force')
    expect(await b.run('outdate', '1000')).toBe(0)
    await b.run('net-options', 'pvc-1', '0', '--fencing=dont-care')
    expect((await open(b)).answer).toMatchObject({ error: 'EROFS', reason: expect.stringContaining('(-2)') })
  })
})

describe('without freeze mode', () => {
  test('a Primary that loses its peer goes on alone, and the peer comes back as its sync target', async () => {
    const { network, a, b } = await pair({ freeze: false })
    const device = await open(a)
    await written(device, 'one')
    network.cut('room-a', 'room-b')
    await written(device, 'two')
    await written(device, 'three')
    expect(a.state().outOfSyncWrites).toBe(2)
    network.heal('room-a', 'room-b')
    await until(() => expect(b.resource().read()).toBe('one\ntwo\nthree\n'))
    await until(() => expect(a.state().outOfSyncWrites).toBe(0))
  })

  test('both sides can be promoted while the link is cut; once both wrote they stay alone', async () => {
    const { network, a, b } = await pair({ freeze: false })
    const left = await open(a)
    await written(left, 'one')
    network.cut('room-a', 'room-b')
    await written(left, 'left')
    await until(() => expect(b.state().connection).toBe('Connecting'))
    const right = await open(b)
    expect(right.answer).toMatchObject({ ok: true })
    await written(right, 'right')
    network.heal('room-a', 'room-b')
    await until(() => expect([a.state().connection, b.state().connection]).toEqual(['StandAlone', 'StandAlone']))
    expect([a.resource().read(), b.resource().read()]).toEqual(['one\nleft\n', 'one\nright\n'])
  })

  test('a node that booted without its peer claims UpToDate although the survivor went on, and learns better when they meet', async () => {
    const { network, a, b, reboot } = await pair({ freeze: false })
    const device = await open(b)
    network.isolate('a1')
    await written(device, 'one')
    await reboot(a)
    expect(a.state().disk).toBe('UpToDate')
    network.restore('a1')
    await until(() => expect(a.resource().read()).toBe('one\n'))
  })
})

describe('drbdsetup', () => {
  test('exit codes are those of the recordings', async () => {
    const { a } = await pair()
    expect(await a.run('status', 'nosuch', '--json')).toBe(10)
    expect(await a.run('status', '--json')).toBe(0)
    expect(await a.run('secondary', 'nosuch')).toBe(10)
    expect(await a.run('connect', 'pvc-1', '1')).toBe(10)
    expect(await a.run('resume-io', '77')).toBe(10)
    expect(await a.run('frobnicate', 'pvc-1')).toBe(20)
    await open(a)
    const refusal = await runCommand(a.kernel.resources, ['secondary', 'pvc-1'])
    expect(refusal.code).toBe(11)
    expect(refusal.stderr).toContain('pvc-1: State change failed: (-12) Device is held open by someone')
    const shown = JSON.parse((await runCommand(a.kernel.resources, ['show', '--json'])).stdout) as { connections: { net: unknown }[] }[]
    expect(shown[0]?.connections[0]?.net).toMatchObject({ protocol: 'C', fencing: 'resource-and-stonith', _name: 'b1' })
  })
})
