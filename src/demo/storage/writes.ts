/** Writes on their way: those on this disk that the peer has not confirmed, and those held back by a freeze. */
import type { WriteResult } from './device.ts'

export interface PendingWrite {
  readonly line: string
  readonly answer: (result: WriteResult) => void
}

export interface PendingWrites {
  size(): number
  /** The number of the last write that went to this disk and to the peer. */
  lastSequence(): number
  /** A write that goes to both disks now; its number. */
  begin(write: PendingWrite): number
  /** The peer has this one. */
  confirm(sequence: number): void
  /** Both disks have everything up to this one, however it got there. */
  confirmUpTo(sequence: number): void
  /** On no disk yet: submitted while frozen, or while this replica is being overwritten. */
  hold(write: PendingWrite): void
  takeUnconfirmed(): readonly PendingWrite[]
  takeHanging(): readonly PendingWrite[]
}

export function createPendingWrites(): PendingWrites {
  const unconfirmed = new Map<number, PendingWrite>()
  let held: PendingWrite[] = []
  let last = 0
  const confirm = (sequence: number): void => {
    const write = unconfirmed.get(sequence)
    unconfirmed.delete(sequence)
    write?.answer('ok')
  }
  return {
    size: () => unconfirmed.size + held.length,
    lastSequence: () => last,
    begin(write) {
      last++
      unconfirmed.set(last, write)
      return last
    },
    confirm,
    confirmUpTo(sequence) {
      for (const number of unconfirmed.keys()) if (number <= sequence) confirm(number)
    },
    hold(write) {
      held.push(write)
    },
    takeUnconfirmed() {
      const writes = [...unconfirmed.values()]
      unconfirmed.clear()
      return writes
    },
    takeHanging() {
      const writes = held
      held = []
      return writes
    },
  }
}

/** A question to the peer that counts as denied when no answer comes in time. */
export interface Question {
  isOpen(): boolean
  ask(send: () => void): Promise<boolean>
  answer(isYes: boolean): void
}

export function createQuestion(timeoutMs: number): Question {
  let finish: ((isYes: boolean) => void) | undefined
  return {
    isOpen: () => finish !== undefined,
    ask: (send) =>
      new Promise((resolve) => {
        finish?.(false)
        const timer = setTimeout(() => end(false), timeoutMs)
        const end = (isYes: boolean): void => {
          clearTimeout(timer)
          if (finish === end) finish = undefined
          resolve(isYes)
        }
        finish = end
        send()
      }),
    answer: (isYes) => finish?.(isYes),
  }
}
