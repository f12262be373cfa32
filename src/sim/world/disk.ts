/** An agent's state directory: writes are in flight for a while, a power loss loses those, a process crash may not; it fills up, slows down and dies. */
import type { Durable } from '../../protocol/state.ts'
import type { Random } from '../schedule/random.ts'
import type { Timeline } from './timeline.ts'

export interface SimDisk {
  /** What a read after a power loss gives: the last write that was fsynced. A torn one after it is told by its checksum. */
  synced: Durable | undefined
  /** The last write under way, which a crash of the process alone may leave whole. */
  inFlight: Durable | undefined
  how: 'good' | 'slow' | 'full'
  busyUntilMs: number
}

export const createDisk = (): SimDisk => ({ synced: undefined, inFlight: undefined, how: 'good', busyUntilMs: 0 })

/** One write at a time, in order. `done` is called with whether it is on disk. */
export function writeDisk(disk: SimDisk, durable: Durable, timeline: Timeline, random: Random, done: (isWritten: boolean) => void): void {
  if (disk.how === 'full') {
    timeline.in(random.between(0.2, 2), () => done(false))
    return
  }
  const delayMs = disk.how === 'slow' ? random.between(20, 900) : random.between(0.5, 8)
  disk.busyUntilMs = Math.max(disk.busyUntilMs, timeline.nowMs) + delayMs
  disk.inFlight = durable
  timeline.at(disk.busyUntilMs, () => done(true))
}

export function afterProcessCrash(disk: SimDisk, random: Random): void {
  if (disk.inFlight && random.chance(0.5)) disk.synced = disk.inFlight
  disk.inFlight = undefined
  disk.busyUntilMs = 0
}

export function afterPowerLoss(disk: SimDisk): void {
  disk.inFlight = undefined
  disk.busyUntilMs = 0
}
