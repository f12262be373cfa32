import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { commandLine, type DrbdCommand, type NextStep } from './commands.ts'
import { judgeFreezeMode, optionsOf } from './freeze-mode.ts'
import { planLoser } from './loser.ts'
import { distrust, isSameMemory, remember } from './memory.ts'
import { type Connection, connectionStates, diskStates, type Resource, roles, type Volume } from './model.ts'
import { parseShow, type ShownConnection, type ShownResource } from './show.ts'
import { parseStatus } from './status.ts'
import { planSurvivor, planThawWithoutTieBreaker, type SurvivorView } from './survivor.ts'

const recorded = (name: string): Resource => {
  const [resource] = parseStatus(readFileSync(join(import.meta.dirname, 'fixtures', name), 'utf8'))
  if (resource === undefined) throw new Error(`no resource in ${name}`)
  return resource
}
const frozenPrimary = recorded('frozen-primary.status-9.22.txt')
const survivorSecondary = recorded('survivor-secondary.status-9.22.txt')

const shownAs = (resource: Resource, fencing: string): ShownResource => ({
  name: resource.name,
  onSuspendedPrimaryOutdated: 'force-secondary',
  connections: resource.connections.map(
    ({ peer, peerNodeId }): ShownConnection => ({
      peer,
      peerNodeId,
      fencing,
      protocol: 'C',
      pingIntMs: 1000,
      pingTimeoutMs: 500,
      allowTwoPrimaries: false,
      rrConflict: 'retry-connect',
    }),
  ),
})
const everyPeer = (resource: Resource) => new Set(resource.connections.map(({ peer }) => peer))
const withConnections = (resource: Resource, change: Partial<Connection>): Resource => ({
  ...resource,
  connections: resource.connections.map((connection) => ({ ...connection, ...change })),
})
/** A survivor of a cut that has done everything right so far. */
const viewOf = (resource: Resource, change: Partial<SurvivorView> = {}): SurvivorView => ({
  resource,
  shown: shownAs(resource, 'resource-and-stonith'),
  fenced: everyPeer(resource),
  rejoining: new Set(),
  statedFreezeMode: everyPeer(resource),
  provedStopped: new Set(),
  confirmedSecondary: new Set(),
  touched: everyPeer(resource),
  memory: new Map(resource.connections.map(({ peer }) => [peer, { wasUpToDate: true, readAtMs: 1 }])),
  goodReplicas: new Set(),
  staleReadsUntilMs: undefined,
  nowMs: 100,
  ...change,
})
const ran = (step: NextStep | undefined): string => (step?.kind === 'run' ? commandLine(step.command).join(' ') : (step?.kind ?? 'nothing'))
const name = frozenPrimary.name

describe('freeze mode', () => {
  const healthy = recorded('healthy.status-9.22.txt')
  const input = {
    resource: healthy,
    shown: shownAs(healthy, 'resource-and-stonith'),
    ownRoom: 'a',
    peerRoom: (peer: string) => (peer.startsWith('node-a') ? 'a' : 'b'),
    usermodeHelper: 'disabled\n',
  }

  test('holds with resource-and-stonith, protocol C and no helper', () => {
    expect(judgeFreezeMode(input)).toEqual({ resource: name, isOn: true, reasons: [], warnings: [] })
  })

  test('does not hold with anything else, and says why', () => {
    const reasons = (change: Partial<typeof input>, option: Partial<ShownConnection> = {}) => {
      const shown = change.shown ?? input.shown
      const connections = shown.connections.map((connection) => ({ ...connection, ...option }))
      return judgeFreezeMode({ ...input, ...change, shown: { ...shown, connections } }).reasons.join('; ')
    }
    expect(reasons({ usermodeHelper: '/sbin/drbdadm' })).toMatch(/usermode_helper is \/sbin\/drbdadm, but must be disabled/)
    expect(reasons({}, { fencing: 'dont-care' })).toMatch(/fencing to node-b1 is dont-care/)
    expect(reasons({}, { protocol: 'B' })).toMatch(/protocol to node-b1 is B, but must be C/)
    expect(reasons({ shown: { ...input.shown, connections: [] } })).toMatch(/options .* are not known/)
    expect(reasons({ ownRoom: 'b' })).toMatch(/no connection to a replica in another room/)
    expect(judgeFreezeMode({ ...input, peerRoom: () => undefined }).reasons.join()).toMatch(/room of peer node-b1 is unknown/)
    expect(judgeFreezeMode({ ...input, shown: undefined, usermodeHelper: undefined }).isOn).toBe(false)
  })

  test('asks nothing of a connection within the room or to a diskless peer', () => {
    const [, withTieBreaker] = parseStatus(readFileSync(join(import.meta.dirname, 'fixtures', 'healthy.status-9.22.txt'), 'utf8'))
    const resource = withTieBreaker ?? healthy
    const shown = shownAs(resource, 'resource-and-stonith')
    const connections = shown.connections.map((one) => (one.peer === 'node-a2' ? { ...one, fencing: 'dont-care' } : one))
    expect(judgeFreezeMode({ ...input, resource, shown: { ...shown, connections } }).reasons).toEqual([])
  })

  test('is not what real DRBD has by default', () => {
    const [shown] = parseShow(readFileSync(join(import.meta.dirname, 'fixtures', 'show-defaults.txt'), 'utf8'))
    expect(judgeFreezeMode({ ...input, shown }).isOn).toBe(false)
  })
})

describe('a survivor', () => {
  test('that is the frozen Primary disconnects by force, then resumes, then is done', () => {
    expect(ran(planSurvivor(viewOf(frozenPrimary)))).toBe(`disconnect ${name} 1 --force`)
    const alone = withConnections(frozenPrimary, { connectionState: 'StandAlone' })
    expect(ran(planSurvivor(viewOf(alone)))).toBe('resume-io 1000')
    const thawed = { ...alone, suspended: { ...alone.suspended, fencing: false } }
    expect(planSurvivor(viewOf(thawed)).kind).toBe('done')
    expect(thawed.connections.map(({ peer, connectionState }) => [peer, connectionState])).toEqual([['node-b1', 'StandAlone']])
  })

  test('that is Secondary disconnects by force and unlocks, and leaves the promotion to the open', () => {
    expect(ran(planSurvivor(viewOf(survivorSecondary)))).toBe(`disconnect ${name} 0 --force`)
    const alone = withConnections(survivorSecondary, { connectionState: 'StandAlone' })
    expect(planSurvivor(viewOf(alone, { staleReadsUntilMs: 500 }))).toMatchObject({ kind: 'wait', untilMs: 500 })
    expect(ran(planSurvivor(viewOf(alone)))).toBe(`net-options ${name} 0 --fencing=dont-care`)
    expect(planSurvivor(viewOf(alone, { shown: shownAs(alone, 'dont-care') })).kind).toBe('done')
  })

  test('undoes a reconnect that nobody here ordered', () => {
    const adjusted = withConnections(survivorSecondary, { connectionState: 'Connecting' })
    expect(ran(planSurvivor(viewOf(adjusted, { shown: shownAs(adjusted, 'dont-care') })))).toBe(`disconnect ${name} 0 --force`)
  })

  test('does not go on from a replica that was not UpToDate before the cut, or of which nobody knows', () => {
    const stale = new Map([['node-a1', { wasUpToDate: false, readAtMs: 1 }]])
    const alone = withConnections(survivorSecondary, { connectionState: 'StandAlone' })
    expect(planSurvivor(viewOf(alone, { memory: stale }))).toMatchObject({
      kind: 'blocked',
      reason: expect.stringMatching(/stale/),
    })
    expect(planSurvivor(viewOf(alone, { memory: new Map() }))).toMatchObject({ kind: 'blocked' })
    const dipped = { ...alone, volumes: alone.volumes.map((one) => ({ ...one, diskState: 'Consistent' as const })) }
    expect(planSurvivor(viewOf(dipped)).kind).toBe('wait')
  })

  test('keeps a fenced peer away however doubtful its own data is: let in, a frozen loser would thaw and its acknowledged writes be erased', () => {
    const connecting = withConnections(survivorSecondary, { connectionState: 'Connecting' })
    const rebooted = { ...connecting, volumes: connecting.volumes.map((one) => ({ ...one, diskState: 'Consistent' as const })) }
    expect(ran(planSurvivor(viewOf(rebooted, { memory: new Map() })))).toBe(`disconnect ${name} 0 --force`)
  })

  test('waits for another proof where the peer had not stated freeze mode', () => {
    const alone = withConnections(frozenPrimary, { connectionState: 'StandAlone' })
    expect(planSurvivor(viewOf(alone, { statedFreezeMode: new Set() })).kind).toBe('wait')
    expect(ran(planSurvivor(viewOf(alone, { statedFreezeMode: new Set(), provedStopped: new Set(['node-b1']) })))).toBe('resume-io 1000')
  })

  test('does not leave behind a replica that is away without being fenced', () => {
    const other: Connection = { ...(frozenPrimary.connections[0] as Connection), peer: 'node-b3', peerNodeId: 3 }
    const resource = {
      ...frozenPrimary,
      connections: [...withConnections(frozenPrimary, { connectionState: 'StandAlone' }).connections, other],
    }
    expect(planSurvivor(viewOf(resource, { fenced: new Set(['node-b1']) }))).toMatchObject({ kind: 'blocked' })
  })

  test('reconnects only after the loser is confirmed Secondary, and locks again at once', () => {
    const alone = withConnections(survivorSecondary, { connectionState: 'StandAlone' })
    const unlocked = shownAs(alone, 'dont-care')
    const back: Partial<SurvivorView> = { fenced: new Set(), shown: unlocked }
    expect(planSurvivor(viewOf(alone, back)).kind).toBe('wait')
    expect(ran(planSurvivor(viewOf(alone, { ...back, confirmedSecondary: new Set(['node-a1']) })))).toBe(`connect ${name} 0`)
    const connected = withConnections(alone, { connectionState: 'Connected' })
    expect(ran(planSurvivor(viewOf(connected, back)))).toBe(`net-options ${name} 0 --fencing=resource-and-stonith`)
    expect(planSurvivor(viewOf(connected, { fenced: new Set() })).kind).toBe('done')
  })

  test('leaves alone what an administrator has disconnected', () => {
    const alone = withConnections(survivorSecondary, { connectionState: 'StandAlone' })
    const view = viewOf(alone, { fenced: new Set(), touched: new Set(), confirmedSecondary: new Set(['node-a1']) })
    expect(planSurvivor(view).kind).toBe('done')
  })

  test('that froze for a tie-breaker goes on when every replica is connected and UpToDate', () => {
    const [, resource] = parseStatus(readFileSync(join(import.meta.dirname, 'fixtures', 'healthy.status-9.22.txt'), 'utf8'))
    if (resource === undefined) throw new Error('no second resource')
    const connections = resource.connections.map((one) =>
      one.peer === 'node-a2' ? { ...one, connectionState: 'Connecting' as const } : one,
    )
    const frozen: Resource = { ...resource, role: 'Primary', suspended: { ...resource.suspended, fencing: true }, connections }
    expect(ran(planThawWithoutTieBreaker(frozen, shownAs(frozen, 'resource-and-stonith')))).toBe('resume-io 1001')
    const without = { ...frozen, connections: connections.map((one) => ({ ...one, connectionState: 'Connecting' as const })) }
    expect(planThawWithoutTieBreaker(without, shownAs(without, 'resource-and-stonith'))).toBeUndefined()
  })
})

describe('a loser', () => {
  test('demotes, waits for its openers to be gone, and is done', () => {
    expect(ran(planLoser({ resource: frozenPrimary, rejoining: new Set() }))).toBe(`secondary --force ${name}`)
    const demoted = recorded('demoted-loser.status-9.22.txt')
    expect(planLoser({ resource: { ...demoted, forceIoFailures: true }, rejoining: new Set() }).kind).toBe('wait')
    expect(planLoser({ resource: { ...demoted, forceIoFailures: false }, rejoining: new Set() }).kind).toBe('done')
    expect([frozenPrimary.role, demoted.role]).toEqual(['Primary', 'Secondary'])
  })

  test('follows a survivor only as Secondary and when told to', () => {
    const alone = withConnections(recorded('demoted-loser.status-9.22.txt'), { connectionState: 'StandAlone' })
    const resource = { ...alone, forceIoFailures: false }
    expect(ran(planLoser({ resource, rejoining: new Set(['node-b1']) }))).toBe(`connect ${name} 1`)
    expect(ran(planLoser({ resource: { ...resource, role: 'Primary' }, rejoining: new Set(['node-b1']) }))).toBe(
      `secondary --force ${name}`,
    )
  })
})

describe('memory', () => {
  test('keeps what was seen last of a peer that is away, and takes what is seen of one that came back', () => {
    const healthy = recorded('healthy.status-9.22.txt')
    const good = remember(new Map(), healthy, 5)
    expect(good.get('node-b1')).toEqual({ wasUpToDate: true, readAtMs: 5 })
    for (const connectionState of connectionStates.filter((state) => state !== 'Connected')) {
      expect(remember(good, withConnections(healthy, { connectionState }), 9), connectionState).toEqual(good)
    }
    const target = { ...healthy, volumes: healthy.volumes.map((one) => ({ ...one, diskState: 'Inconsistent' as const })) }
    expect(remember(good, target, 11).get('node-b1')?.wasUpToDate).toBe(false)
    expect(distrust(good).get('node-b1')?.wasUpToDate).toBe(false)
    // Without a vote nothing is trusted anew, and what was trusted stays so only as long as it is seen good.
    expect(remember(distrust(good), healthy, 12, false).get('node-b1')?.wasUpToDate).toBe(false)
    expect(remember(good, healthy, 12, false).get('node-b1')?.wasUpToDate).toBe(true)
    expect(remember(distrust(good), healthy, 12).get('node-b1')?.wasUpToDate).toBe(true)
    expect([isSameMemory(good, remember(good, healthy, 7)), isSameMemory(good, distrust(good))]).toEqual([true, false])
  })
})

describe('whatever the state, a planner', () => {
  const peers = ['b1', 'b2', 'a2']
  const nodes = fc.uniqueArray(fc.constantFrom(...peers), { maxLength: 3 }).map((all): ReadonlySet<string> => new Set(all))
  const volume = fc.record({
    volume: fc.constant(0),
    minor: fc.constant(1000),
    diskState: fc.oneof(fc.constant('UpToDate' as const), fc.constantFrom(...diskStates)),
    isClient: fc.boolean(),
    hasQuorum: fc.boolean(),
    upperPending: fc.constant(undefined),
  }) satisfies fc.Arbitrary<Volume>
  const connection = (peer: string, peerNodeId: number): fc.Arbitrary<Connection> =>
    fc.record({
      peer: fc.constant(peer),
      peerNodeId: fc.constant(peerNodeId),
      connectionState: fc.oneof(fc.constantFrom('StandAlone' as const, 'Connected' as const), fc.constantFrom(...connectionStates)),
      peerRole: fc.constantFrom(...roles),
      volumes: fc.tuple(
        fc.record({
          volume: fc.constant(0),
          replicationState: fc.constantFrom('Off' as const, 'Established' as const),
          peerDiskState: fc.constantFrom(...diskStates),
          isPeerClient: fc.boolean(),
          resyncSuspended: fc.constant('no'),
          outOfSyncKib: fc.constant(0),
        }),
      ),
    })
  const resource: fc.Arbitrary<Resource> = fc.record({
    name: fc.constant('r'),
    role: fc.constantFrom('Primary' as const, 'Secondary' as const),
    suspended: fc.record({ user: fc.boolean(), noData: fc.boolean(), fencing: fc.boolean(), quorum: fc.boolean() }),
    forceIoFailures: fc.boolean(),
    volumes: fc.tuple(volume),
    connections: fc.tuple(connection('b1', 1), connection('b2', 2), connection('a2', 3)),
  })
  const anything: fc.Arbitrary<SurvivorView> = resource.chain((drawn) =>
    fc.record({
      resource: fc.constant(drawn),
      shown: fc.option(
        fc.constantFrom('dont-care', 'resource-and-stonith').map((fencing) => shownAs(drawn, fencing)),
        { nil: undefined },
      ),
      fenced: nodes,
      rejoining: nodes,
      statedFreezeMode: nodes,
      provedStopped: nodes,
      confirmedSecondary: nodes,
      touched: nodes,
      memory: fc.boolean().map((wasUpToDate) => new Map(peers.map((peer) => [peer, { wasUpToDate, readAtMs: 1 }]))),
      goodReplicas: nodes,
      staleReadsUntilMs: fc.option(fc.nat(200), { nil: undefined }),
      nowMs: fc.constant(100),
    }),
  )
  /** Everything is as an unlock or a thaw asks for, but for one thing that chance put there: each condition is what stands in the way now and then. */
  const almostReady = fc
    .tuple(
      anything,
      fc.constantFrom('resource', 'shown', 'fenced', 'rejoining', 'statedFreezeMode', 'memory', 'staleReadsUntilMs', 'nowMs'),
    )
    .map(([drawn, odd]): SurvivorView => {
      const fenced = drawn.fenced.size > 0 ? drawn.fenced : new Set(['b1'])
      const ready: Resource = {
        ...drawn.resource,
        suspended: { user: false, noData: false, fencing: drawn.resource.role === 'Primary', quorum: false },
        volumes: drawn.resource.volumes.map((one) => ({ ...one, diskState: 'UpToDate', isClient: false })),
        connections: drawn.resource.connections.map((one) => ({
          ...one,
          connectionState: fenced.has(one.peer) ? 'StandAlone' : 'Connected',
        })),
      }
      return {
        ...drawn,
        resource: ready,
        shown: shownAs(ready, 'resource-and-stonith'),
        fenced,
        rejoining: new Set(),
        statedFreezeMode: fenced,
        memory: new Map(peers.map((peer) => [peer, { wasUpToDate: true, readAtMs: 1 }])),
        staleReadsUntilMs: undefined,
        [odd]: drawn[odd],
      }
    })
  const view = fc.oneof(anything, almostReady)
  const runs = (of: SurvivorView): readonly DrbdCommand[] => {
    const step = planSurvivor(of)
    return step.kind === 'run' ? [step.command] : []
  }
  const law = (holds: (command: DrbdCommand, of: SurvivorView) => boolean) => {
    const seen = new Set<string>()
    fc.assert(
      fc.property(view, (of) => {
        for (const command of runs(of)) {
          seen.add(command.kind)
          expect(holds(command, of), JSON.stringify(command)).toBe(true)
        }
      }),
      { numRuns: 5000 },
    )
    // A law about commands that are never drawn would hold for nothing.
    expect([...seen].sort()).toEqual(['connect', 'disconnect-force', 'relock', 'resume-io', 'unlock'])
  }

  test('unlocks and cuts off only towards a peer that is in a committed fence', () => {
    law((command, { fenced }) => (command.kind !== 'unlock' && command.kind !== 'disconnect-force') || fenced.has(command.peer))
  })

  test('resumes I/O only where it is suspended for fencing, on a Primary, with every fenced peer cut off', () => {
    law(
      (command, { resource: { role, suspended, connections }, fenced, rejoining }) =>
        command.kind !== 'resume-io' ||
        (suspended.fencing &&
          role === 'Primary' &&
          connections.some(({ peer }) => fenced.has(peer)) &&
          connections.every(({ peer, connectionState }) => !fenced.has(peer) || rejoining.has(peer) || connectionState === 'StandAlone')),
    )
  })

  test('never unlocks or resumes on data that was not UpToDate before the cut', () => {
    law(
      (command, { resource: { volumes }, memory }) =>
        (command.kind !== 'resume-io' && command.kind !== 'unlock') ||
        (volumes.every(({ isClient, diskState }) => isClient || diskState === 'UpToDate') &&
          (volumes.every(({ isClient }) => isClient) || [...memory.values()].every(({ wasUpToDate }) => wasUpToDate))),
    )
  })

  test('never unlocks or resumes without freeze mode stated, or another proof, by every peer that is lost', () => {
    law(
      (command, { resource: { connections }, fenced, rejoining, statedFreezeMode, provedStopped }) =>
        (command.kind !== 'resume-io' && command.kind !== 'unlock') ||
        connections.every(({ peer }) => !fenced.has(peer) || rejoining.has(peer) || statedFreezeMode.has(peer) || provedStopped.has(peer)),
    )
  })

  test('never connects before the loser is confirmed, nor a peer that is fenced and not coming back', () => {
    law(
      (command, { confirmedSecondary, fenced, rejoining, touched }) =>
        command.kind !== 'connect' ||
        (confirmedSecondary.has(command.peer) && touched.has(command.peer) && (!fenced.has(command.peer) || rejoining.has(command.peer))),
    )
  })

  test('never lets a loser thaw anything', () => {
    fc.assert(
      fc.property(resource, nodes, (drawn, rejoining) => {
        const step = planLoser({ resource: drawn, rejoining })
        if (step.kind !== 'run') return
        expect(step.command.kind === 'secondary-force' || (step.command.kind === 'connect' && drawn.role === 'Secondary')).toBe(true)
      }),
    )
  })

  test('thaws for a tie-breaker only with every replica connected and UpToDate', () => {
    fc.assert(
      fc.property(view, ({ resource: drawn, shown }) => {
        const step = planThawWithoutTieBreaker(drawn, shown)
        if (step === undefined) return
        expect(drawn.suspended.fencing && drawn.role === 'Primary').toBe(true)
        for (const one of drawn.connections) {
          const isClient = one.volumes.every(({ isPeerClient }) => isPeerClient)
          expect(
            isClient || (one.connectionState === 'Connected' && one.volumes.every(({ peerDiskState }) => peerDiskState === 'UpToDate')),
          ).toBe(true)
        }
      }),
      { numRuns: 5000 },
    )
    expect(optionsOf(undefined, frozenPrimary.connections[0] as Connection)).toBeUndefined()
  })
})
