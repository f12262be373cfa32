/** One replica at work: its state machine, the writes that wait for the peer, freezing and thawing, promotion, resynchronisation. */
import { randomBytes } from 'node:crypto'
import type { Opener, Resource, WriteResult } from './device.ts'
import type { Replica } from './replica.ts'
import { createPeerConnection, type PeerMessage, type PeerConnection } from './peer-connection.ts'
import { type HandshakeSide, judgeHandshake, promotionRefusal, type Refusal, type ResourceConfig, type ResourceState } from './state.ts'
import { createPendingWrites, createQuestion, type PendingWrite } from './writes.ts'

const newGenerationId = (): string => randomBytes(8).toString('hex').toUpperCase()

/** Brings a replica up as at boot: connecting, and in freeze mode not claiming to be UpToDate before it has met its peer. */
export function bringUp(
  config: ResourceConfig,
  replica: Replica,
  changed: (before: ResourceState, after: ResourceState) => void,
): Resource {
  const booted = replica.metadata()
  let generation = booted.generation
  let crashedPrimary = booted.primary
  let discardMyData = false
  let isAutoPromoted = false
  let needsNewGeneration = true
  /** The content that was last sent to a resyncing peer holds the writes up to this one. */
  let copiedSequence = 0
  const writes = createPendingWrites()
  const openers = new Set<Opener>()
  const promotion = createQuestion(config.pingTimeoutMs)
  const goodbye = createQuestion(config.pingTimeoutMs)
  let isLeaving: 'no' | 'peerOutdated' | 'peerGone' = 'no'

  let state: ResourceState = {
    role: 'Secondary',
    disk: config.freeze && booted.disk === 'UpToDate' && !booted.peerOutdated ? 'Consistent' : booted.disk,
    suspendedFencing: false,
    forceIoFailures: false,
    connection: 'StandAlone',
    peerRole: 'Unknown',
    peerDisk: booted.peerOutdated ? 'Outdated' : 'DUnknown',
    replication: 'Off',
    pathEstablished: false,
    fencing: config.freeze ? 'resource-and-stonith' : 'dont-care',
    openers: 0,
    pendingWrites: 0,
    outOfSyncWrites: booted.outOfSyncWrites,
    writtenWrites: 0,
    sentWrites: 0,
    receivedWrites: 0,
  }

  const save = (): void => {
    const disk = state.disk === 'Consistent' ? 'UpToDate' : state.disk
    const peerOutdated = state.peerDisk === 'Outdated'
    replica.save({ disk, generation, primary: state.role === 'Primary', peerOutdated, outOfSyncWrites: state.outOfSyncWrites })
  }
  const change = (next: Partial<ResourceState>): void => {
    const before = state
    state = { ...state, ...next, openers: openers.size, pendingWrites: writes.size() }
    if (
      before.role !== state.role ||
      before.disk !== state.disk ||
      before.peerDisk !== state.peerDisk ||
      (before.outOfSyncWrites === 0) !== (state.outOfSyncWrites === 0)
    ) {
      save()
    }
    if (session.isJoined() && (before.role !== state.role || before.disk !== state.disk)) {
      session.send({ type: 'state', role: state.role, disk: state.disk })
    }
    changed(before, state)
  }

  const startNewGeneration = (): void => {
    needsNewGeneration = false
    const history = [generation.current, ...generation.history].slice(0, 16)
    generation = { current: newGenerationId(), bitmap: generation.bitmap === '' ? generation.current : generation.bitmap, history }
    save()
  }
  /** Ends the writes that only this disk has; they count as out of sync from now on. */
  const completeUnconfirmed = (result: WriteResult): void => {
    const ended = writes.takeUnconfirmed()
    if (ended.length > 0) change({ outOfSyncWrites: state.outOfSyncWrites + ended.length })
    for (const write of ended) write.answer(result)
  }
  const submitHanging = (): void => {
    for (const write of writes.takeHanging()) submit(write)
  }
  const failHanging = (): void => {
    for (const write of writes.takeHanging()) write.answer('EIO')
  }
  const confirmUpTo = (sequence: number): void => {
    writes.confirmUpTo(sequence)
    change({})
  }

  function submit(pending: PendingWrite): void {
    if (state.forceIoFailures || state.role !== 'Primary') {
      pending.answer('EIO')
      return
    }
    if (state.suspendedFencing || state.replication === 'SyncTarget') {
      writes.hold(pending)
      change({})
      return
    }
    if (state.disk !== 'UpToDate') {
      pending.answer('EIO')
      return
    }
    if (session.isJoined()) {
      replica.append(pending.line, 'local')
      const sequence = writes.begin(pending)
      session.send({ type: 'write', sequence, line: pending.line })
      change({ writtenWrites: state.writtenWrites + 1, sentWrites: state.sentWrites + 1 })
      return
    }
    if (needsNewGeneration) startNewGeneration()
    replica.append(pending.line, 'local')
    change({ writtenWrites: state.writtenWrites + 1, outOfSyncWrites: state.outOfSyncWrites + 1 })
    pending.answer('ok')
  }

  const side = (): HandshakeSide => ({
    generation,
    role: state.role,
    disk: state.disk,
    suspended: state.suspendedFencing,
    crashedPrimary,
    outOfSyncWrites: state.outOfSyncWrites,
    ...replica.digest(),
    discardMyData,
  })

  /** Everything that a lost peer means, in one state change: DRBD freezes a Primary in the same step in which it drops the connection. */
  const losePeer = (connection: ResourceState['connection'], peerDisk: ResourceState['peerDisk'] = 'DUnknown'): void => {
    needsNewGeneration = true
    const wasPeerPrimary = state.peerRole === 'Primary'
    const isKnownOutdated = peerDisk === 'Outdated'
    const freezes = state.role === 'Primary' && state.fencing === 'resource-and-stonith' && !isKnownOutdated
    const dips = state.role === 'Secondary' && state.disk === 'UpToDate' && wasPeerPrimary && connection !== 'StandAlone'
    change({
      connection,
      peerRole: 'Unknown',
      peerDisk,
      replication: 'Off',
      pathEstablished: false,
      ...(freezes ? { suspendedFencing: true } : {}),
      ...(dips ? { disk: 'Consistent' as const } : {}),
    })
    if (dips) change({ disk: 'UpToDate' })
    promotion.answer(false)
    goodbye.answer(false)
    if (state.role === 'Primary' && !freezes && writes.size() > 0) {
      startNewGeneration()
      completeUnconfirmed('ok')
    }
    if (connection !== 'StandAlone') {
      change({ connection: 'Unconnected' })
      change({ connection: 'Connecting' })
    }
    if (!freezes && state.role === 'Primary') submitHanging()
  }

  const standAlone = (): void => {
    session.stop()
    change({ connection: 'StandAlone', peerRole: 'Unknown', peerDisk: 'DUnknown', replication: 'Off', pathEstablished: false })
  }

  const joined = (peer: HandshakeSide): void => {
    const verdict = judgeHandshake(side(), peer, config.allowTwoPrimaries)
    if (verdict.kind === 'splitBrain') {
      change({ connection: 'Disconnecting' })
      standAlone()
      return
    }
    if (verdict.kind === 'primaryIsTarget') {
      const retries = verdict.suspended && config.onSuspendedPrimaryOutdated === 'force-secondary' && config.rrConflict === 'retry-connect'
      if (verdict.mine && verdict.suspended) {
        change({ suspendedFencing: false, disk: 'Outdated', ...(retries ? { role: 'Secondary', forceIoFailures: openers.size > 0 } : {}) })
        completeUnconfirmed('EIO')
        failHanging()
      }
      if (!retries) {
        standAlone()
        return
      }
      session.stop()
      change({ connection: 'NetworkFailure', peerRole: 'Unknown', peerDisk: 'DUnknown', replication: 'Off' })
      change({ connection: 'Connecting' })
      setTimeout(() => {
        if (state.connection === 'Connecting') session.start()
      }, config.connectIntMs)
      return
    }
    discardMyData = false
    crashedPrimary = false
    const sync = verdict.kind === 'hole' ? 'target' : verdict.sync
    const joinedDisk = sync === 'target' ? 'Outdated' : state.disk === 'Consistent' || state.disk === 'Outdated' ? 'UpToDate' : state.disk
    const thaws = state.suspendedFencing
    change({
      connection: 'Connected',
      pathEstablished: true,
      peerRole: peer.role,
      peerDisk: sync === 'source' ? 'Inconsistent' : 'UpToDate',
      replication: sync === 'none' ? 'Established' : sync === 'source' ? 'SyncSource' : 'SyncTarget',
      disk: joinedDisk,
    })
    if (verdict.kind === 'hole') {
      // DRBD thaws here, before it has compared the bitmaps: the guest gets its acknowledgement for what the resync is about to erase.
      change({ suspendedFencing: false })
      confirmUpTo(writes.lastSequence())
    } else if (thaws) change({ suspendedFencing: false })
    if (sync === 'source') {
      copiedSequence = writes.lastSequence()
      session.send({ type: 'content', text: replica.content(), generation })
    }
    if (sync === 'none') {
      settle()
      confirmUpTo(writes.lastSequence())
    }
    if (thaws && sync !== 'target') submitHanging()
  }

  /** Both disks hold the same: nothing is out of sync, and the older generation is history. */
  const settle = (): void => {
    if (generation.bitmap !== '')
      generation = { ...generation, bitmap: '', history: [generation.bitmap, ...generation.history].slice(0, 16) }
    change({ replication: 'Established', peerDisk: 'UpToDate', outOfSyncWrites: 0 })
    save()
  }

  const receive = (message: PeerMessage): void => {
    switch (message.type) {
      case 'write':
        replica.append(message.line, 'peer')
        change({ receivedWrites: state.receivedWrites + 1 })
        session.send({ type: 'written', sequence: message.sequence })
        break
      case 'written':
        writes.confirm(message.sequence)
        change({})
        break
      case 'state':
        change({ peerRole: message.role, ...(state.replication === 'SyncSource' ? {} : { peerDisk: message.disk }) })
        break
      case 'content':
        change({ disk: 'Inconsistent', replication: 'SyncTarget' })
        replica.replace(message.text)
        generation = message.generation
        setTimeout(() => {
          if (!session.isJoined() || state.replication !== 'SyncTarget') return
          generation = { ...generation, bitmap: '' }
          change({ disk: 'UpToDate', outOfSyncWrites: 0 })
          settle()
          session.send({ type: 'synced' })
          submitHanging()
        }, config.resyncMs)
        break
      case 'synced':
        settle()
        confirmUpTo(copiedSequence)
        break
      case 'promote': {
        // Two nodes that ask at once: the lower number goes first.
        const isContested = promotion.isOpen() && config.nodeId < config.peer.nodeId
        const isAllowed = config.allowTwoPrimaries || (state.role === 'Secondary' && !isContested)
        session.send({ type: 'promoteAnswer', isAllowed })
        break
      }
      case 'promoteAnswer':
        promotion.answer(message.isAllowed)
        break
      case 'bye':
        session.send({ type: 'byeAnswer' })
        if (message.outdateYourself && state.role === 'Secondary') change({ disk: 'Outdated' })
        change({ connection: 'TearDown' })
        isLeaving = state.role === 'Primary' ? 'peerOutdated' : 'peerGone'
        break
      case 'byeAnswer':
        goodbye.answer(true)
        break
    }
  }

  const session: PeerConnection = createPeerConnection(config, {
    side,
    joined,
    message: receive,
    lost(reason) {
      const leaving = isLeaving
      isLeaving = 'no'
      if (leaving === 'no') losePeer(reason)
      else losePeer('TearDown', leaving === 'peerOutdated' ? 'Outdated' : 'DUnknown')
    },
  })

  const promote = async (force: boolean): Promise<Refusal | undefined> => {
    if (state.role === 'Primary') return undefined
    const isForced = force && state.disk !== 'UpToDate'
    const refusal = promotionRefusal(state, config.allowTwoPrimaries)
    if (refusal !== undefined && !isForced) return refusal
    if (session.isJoined() && !(await promotion.ask(() => session.send({ type: 'promote' })))) {
      if (session.isJoined()) return { code: -1, text: 'Multiple primaries not allowed by config' }
      const later = promotionRefusal(state, config.allowTwoPrimaries)
      if (later !== undefined) return later
    }
    needsNewGeneration = !session.isJoined()
    change({ role: 'Primary', disk: 'UpToDate' })
    if (isForced) startNewGeneration()
    return undefined
  }

  const demoteAfterClose = (): void => {
    if (state.role === 'Primary' && isAutoPromoted && !state.suspendedFencing) change({ role: 'Secondary' })
  }

  return {
    config,
    session,
    state: () => state,
    openers: () => [...openers],
    async open(opener) {
      const wasPrimary = state.role === 'Primary'
      const refusal = await promote(false)
      if (refusal !== undefined) return refusal
      if (!wasPrimary) isAutoPromoted = true
      openers.add(opener)
      change({})
      return undefined
    },
    close(opener) {
      if (!openers.delete(opener)) return
      change(openers.size === 0 ? { forceIoFailures: false } : {})
      if (openers.size === 0) demoteAfterClose()
    },
    write: (line, answer) => submit({ line, answer }),
    read: () => replica.content(),
    async promote(force) {
      const refusal = await promote(force)
      if (refusal === undefined) isAutoPromoted = false
      return refusal
    },
    demote(force) {
      if (openers.size > 0 && !force) return { code: -12, text: 'Device is held open by someone' }
      change({ role: 'Secondary', forceIoFailures: openers.size > 0 })
      completeUnconfirmed('EIO')
      failHanging()
      return undefined
    },
    resumeIo() {
      // As recorded: without effect on a Secondary; a Primary without its peer starts a new generation even when it was not frozen.
      if (state.role !== 'Primary' || session.isJoined()) return
      startNewGeneration()
      change({ suspendedFencing: false })
      completeUnconfirmed('ok')
      submitHanging()
    },
    outdate() {
      if (state.role === 'Primary' || session.isJoined()) return { code: -10, text: 'State change was refused by peer node' }
      change({ disk: 'Outdated' })
      return undefined
    },
    setFencing(fencing) {
      change({ fencing })
    },
    connect(discard) {
      if (state.connection !== 'StandAlone') return { code: 125, text: 'Device has a net-config (use disconnect first)' }
      discardMyData = discard
      change({ connection: 'Unconnected' })
      change({ connection: 'Connecting' })
      session.start()
      return undefined
    },
    async disconnect(force) {
      if (state.connection === 'StandAlone') return
      const isGraceful =
        !force && session.isJoined() && (await goodbye.ask(() => session.send({ type: 'bye', outdateYourself: state.role === 'Primary' })))
      const wasJoined = session.isJoined()
      const peerWasPrimary = state.peerRole === 'Primary'
      session.stop()
      if (isGraceful && state.role === 'Secondary' && peerWasPrimary) change({ disk: 'Outdated' })
      if (wasJoined) {
        change({ connection: 'Disconnecting' })
        losePeer('StandAlone', isGraceful && state.role === 'Primary' ? 'Outdated' : 'DUnknown')
      } else change({ connection: 'StandAlone' })
    },
  }
}
