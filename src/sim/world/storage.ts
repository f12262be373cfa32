/**
 * Replicated volumes as DRBD keeps them, protocol C, two replicas in different rooms: acknowledged and hanging writes, resync, split brain, and
 * freeze mode, where the kernel suspends a Primary in the moment in which it loses its peer (docs/protocol/freeze-mode.md).
 */

/** One write, linked to the one before it in the same history. */
export interface Write {
  readonly depth: number
  readonly before: Write | undefined
}

export type SideState = 'UpToDate' | 'Consistent' | 'Inconsistent'

/** One replica with its end of the connection. */
export interface Side {
  readonly node: number
  head: Write | undefined
  state: SideState
  isPrimary: boolean
  connection: 'Connected' | 'Connecting' | 'StandAlone'
  /** Freeze mode in force on this end. */
  isLocked: boolean
  isSuspended: boolean
  /** Written here, not on the peer, not acknowledged. */
  hanging: Write | undefined
  /** Since when nothing came from the peer, Infinity: it does. */
  silentSinceMs: number
  syncedAtMs: number
  /** What the agent remembers from the last reading while connected: the own replica was UpToDate. */
  wasUpToDate: boolean
  /** The last epoch in which the other end's agent said that freeze mode holds there, both being in it; -1: none, or it took that back. */
  freezeStatedEpoch: number
  /** Fence epoch for which this end was taken over; -1: none. */
  takenOverEpoch: number
}

export interface Volume {
  readonly vm: number
  readonly sides: readonly [Side, Side]
  /** The newest write that any writer was told is safe. */
  acknowledged: Write | undefined
  /**
   * The newest write that no start may miss, whatever the mode: acknowledged while both ends were connected, or by a survivor while the other end's node was
   * fenced. What a lost room acknowledged alone is not in it: without freeze mode that is lost by design.
   */
  binding: Write | undefined
  /** During a live migration the second side may be opened as well. */
  isMigrating: boolean
}

const newSide = (node: number, isLocked: boolean): Side => ({
  node,
  head: undefined,
  state: 'UpToDate',
  isPrimary: false,
  connection: 'Connected',
  isLocked,
  isSuspended: false,
  hanging: undefined,
  silentSinceMs: Infinity,
  syncedAtMs: 0,
  wasUpToDate: true,
  freezeStatedEpoch: isLocked ? 0 : -1,
  takenOverEpoch: -1,
})

export const createVolume = (vm: number, nodes: readonly [number, number], isFreezeMode: boolean): Volume => ({
  vm,
  sides: [newSide(nodes[0], isFreezeMode), newSide(nodes[1], isFreezeMode)],
  acknowledged: undefined,
  binding: undefined,
  isMigrating: false,
})

export const sideOn = (volume: Volume, node: number): Side | undefined => volume.sides.find((side) => side.node === node)

export const otherSide = (volume: Volume, side: Side): Side => (volume.sides[0] === side ? volume.sides[1] : volume.sides[0])

/** Whether everything in `older` is in `newer`. */
export function contains(newer: Write | undefined, older: Write | undefined): boolean {
  if (older === undefined) return true
  let at = newer
  while (at !== undefined && at.depth > older.depth) at = at.before
  return at === older
}

export interface StorageEvents {
  readonly nowMs: number
  /** Kernel and link: whether a stream between the two nodes passes now. */
  passes(a: number, b: number): boolean
  pingTimeoutMs: number
  resyncMs(): number
  /** Which side's changes are thrown away; neither: they stay apart. */
  splitBrain(volume: Volume): Side | 'neither'
  lost(volume: Volume, side: Side): void
  frozen(volume: Volume, side: Side): void
}

/** One round of the kernels' timers: lost peers, reconnects, resyncs. */
export function turnVolume(volume: Volume, isFreezeMode: boolean, events: StorageEvents): void {
  const [a, b] = volume.sides
  const isPassing = events.passes(a.node, b.node)
  for (const side of volume.sides) {
    if (side.connection !== 'Connected') continue
    const isPeerThere = isPassing && otherSide(volume, side).connection === 'Connected'
    if (isPeerThere) {
      side.silentSinceMs = Infinity
      continue
    }
    if (side.silentSinceMs === Infinity) side.silentSinceMs = events.nowMs
    const isTold = isPassing
    if (isTold || events.nowMs - side.silentSinceMs >= events.pingTimeoutMs) loseConnection(volume, side, isFreezeMode, events)
  }
  if (isPassing && a.connection === 'Connecting' && b.connection === 'Connecting') reconnect(volume, events)
  if (a.connection === 'Connected' && b.connection === 'Connected')
    for (const side of volume.sides)
      if (side.state === 'Inconsistent' && isPassing && events.nowMs >= side.syncedAtMs) {
        const source = otherSide(volume, side)
        side.head = source.head
        side.state = 'UpToDate'
        if (!contains(side.head, volume.acknowledged)) events.lost(volume, side)
      }
}

export function loseConnection(volume: Volume, side: Side, isFreezeMode: boolean, events: Pick<StorageEvents, 'frozen'>): void {
  side.connection = 'Connecting'
  side.silentSinceMs = Infinity
  if (!side.isPrimary) return
  if (isFreezeMode && side.isLocked) {
    side.isSuspended = true
    events.frozen(volume, side)
  } else settleHanging(volume, side)
}

/** Without a peer and without freeze mode a write is complete when it is here. */
function settleHanging(volume: Volume, side: Side): void {
  if (side.hanging === undefined) return
  side.head = side.hanging
  side.hanging = undefined
  volume.acknowledged = side.head
}

function reconnect(volume: Volume, events: StorageEvents): void {
  const [a, b] = volume.sides
  const aHasB = contains(a.head, b.head)
  const bHasA = contains(b.head, a.head)
  // Half a resync is no history of its own: it goes on in the same direction.
  const half = a.state === 'Inconsistent' ? a : b.state === 'Inconsistent' ? b : undefined
  const loser = half ?? (!aHasB && !bHasA ? events.splitBrain(volume) : undefined)
  if (loser === 'neither') return
  for (const side of volume.sides) {
    side.connection = 'Connected'
    side.silentSinceMs = Infinity
  }
  const target = loser ?? (aHasB && !bHasA ? b : bHasA && !aHasB ? a : undefined)
  for (const side of volume.sides) {
    if (side.state === 'Consistent') side.state = 'UpToDate'
    // Seen on real DRBD: who reconnects as a frozen Primary is thawed, and its hanging writes are acknowledged.
    if (side.hanging !== undefined) {
      const isResyncTarget = side === target
      const written = side.hanging
      side.hanging = undefined
      volume.acknowledged = written
      if (isResyncTarget) events.lost(volume, side)
      else {
        side.head = written
        volume.binding = written
        const peer = otherSide(volume, side)
        if (target === undefined) peer.head = written
      }
    }
    side.isSuspended = false
  }
  if (target) {
    target.state = 'Inconsistent'
    target.syncedAtMs = events.nowMs + events.resyncMs()
  }
}

/**
 * A writer on this side writes once, if the kernel lets it.
 *
 * @param isPeerFenced whether the other end's node is fenced now, in truth.
 */
export function writeOnce(volume: Volume, side: Side, isPassing: boolean, isPeerFenced = false): void {
  if (!side.isPrimary || side.isSuspended || side.hanging !== undefined) return
  const peer = otherSide(volume, side)
  const isTarget = side.state === 'Inconsistent'
  // The newest is on the peer alone: a Primary that is being resynced writes on top of that, and without it not at all.
  if (isTarget && (side.connection !== 'Connected' || peer.connection !== 'Connected' || !isPassing)) return
  const before = isTarget ? peer.head : side.head
  const written: Write = { depth: (before?.depth ?? 0) + 1, before }
  if (side.connection !== 'Connected') {
    side.head = written
    volume.acknowledged = written
    if (isPeerFenced) volume.binding = written
    return
  }
  if (!isPassing || peer.connection !== 'Connected') {
    side.hanging = written
    return
  }
  if (!isTarget) side.head = written
  if (peer.state !== 'Inconsistent') peer.head = written
  volume.acknowledged = written
  volume.binding = written
}

export function resumeIo(volume: Volume, side: Side): void {
  if (!side.isSuspended) return
  side.isSuspended = false
  if (side.connection !== 'Connected') settleHanging(volume, side)
}

export function demote(side: Side): void {
  side.isPrimary = false
  side.isSuspended = false
  side.hanging = undefined
}

export function disconnect(side: Side): void {
  side.connection = 'StandAlone'
  side.silentSinceMs = Infinity
}

/** What a reset leaves. `Consistent`: in freeze mode a node that restarted alone does not know whether it is the newest. */
export function rebootSide(side: Side, isFreezeMode: boolean): void {
  demote(side)
  side.connection = 'Connecting'
  side.silentSinceMs = Infinity
  side.takenOverEpoch = -1
  if (side.isLocked !== isFreezeMode) side.isLocked = isFreezeMode
  if (isFreezeMode && side.state === 'UpToDate') side.state = 'Consistent'
}

/** Whether an opener may write here; DRBD's own refusals. */
export function mayPromote(volume: Volume, side: Side): boolean {
  const peer = otherSide(volume, side)
  if (side.state !== 'UpToDate') return false
  if (side.connection === 'Connected') return !peer.isPrimary || volume.isMigrating
  return !side.isLocked
}
