/** Joins what decides and what acts: the protocol's loop, the storage, the guard, the fences and the count of places. Adapter shell. */
import { randomInt } from 'node:crypto'
import { start, type State } from '../protocol/state.ts'
import { nowMs } from './clock.ts'
import { type CapacityCount, createCapacityCount } from './fences/capacity.ts'
import { createFences, type Fences } from './fences/fences.ts'
import { createGuard, type Guard } from './guard/guard.ts'
import { createLoop, type Loop } from './loop.ts'
import { loopAdapters } from './loop-adapters.ts'
import { createStorage, type Storage } from './storage/storage.ts'
import type { Surroundings } from './surroundings.ts'

export interface Parts {
  readonly loop: Loop
  readonly storage: Storage
  readonly guard: Guard
  readonly fences: Fences
  readonly capacity: CapacityCount
}

export function createParts(surroundings: Surroundings): Parts {
  const { configuration, client, network, opened, log, metrics } = surroundings
  const { transport } = network
  const loop: Loop = createLoop(
    firstState(surroundings),
    loopAdapters(surroundings, () => ({ state, guard, storage, fences })),
  )
  const { state, feed } = loop
  const storage = createStorage({
    drbd: configuration.drbd,
    nowMs,
    state,
    store: opened.replicaStore,
    kept: opened.kept,
    send: (to, report) => transport.send(to, report),
    onEvidence: (connected, isInSync) => feed({ kind: 'storage', connected, isInSync }),
    onChange: () => fences.poke(),
    isDryRun: configuration.isDryRun,
    log,
  })
  const { distrustReplicas, drbd } = storage
  const guard = createGuard({ configuration, drbd, distrustReplicas, nowMs, state, feed, log, metrics })
  const fences = createFences({
    configuration,
    client,
    nowMs,
    state,
    storageFacts: storage.facts,
    reported: storage.reported,
    requestUnfence: (nodes, by) => feed({ kind: 'unfence', nodes, by }),
    confirmDead: (nodes, by) => feed({ kind: 'confirm-dead', nodes, by }),
    log,
    metrics,
  })
  const capacity = createCapacityCount({
    client,
    nowMs,
    everyMs: configuration.failover.capacityEveryMs,
    membership: () => state().durable.membership,
    isMine: () => fences.isCoordinator() && state().process.isApiReachable && fences.underWay().length === 0,
    log,
    metrics,
  })
  transport.onMessage((received) => {
    const { from, incarnation, message } = received
    if (message.kind === 'storage-report') storage.onReport(received, message)
    else feed({ kind: 'message', from, incarnation, message })
  })
  network.setMembers(state().durable.membership)
  return { loop, storage, guard, fences, capacity }
}

function firstState({ configuration, self, opened }: Surroundings): State {
  const { isDryRun, failover, timings } = configuration
  const { maxFencedShare, maxFencedShareOfRoom } = failover
  return start({
    self,
    timings,
    brakes: { isDryRun, maxFencedShare, maxFencedShareOfRoom },
    durable: opened.durable,
    nowMs: nowMs(),
    seed: randomInt(1, 2 ** 31),
  })
}
