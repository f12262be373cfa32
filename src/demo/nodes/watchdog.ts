/** The hardware watchdog of a demo node: a FIFO that is read by the node's supervisor. */
import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs'

export interface WatchdogState {
  /** When the last byte was read; undefined while disarmed. */
  readonly pettedAtMs: number | undefined
  readonly lastByte: number | undefined
}

export const disarmed: WatchdogState = { pettedAtMs: undefined, lastByte: undefined }

const magicClose = 'V'.charCodeAt(0)

/** One look at the device: what was read, and whether somebody still has it open. Armed by the first byte, disarmed by `V` and a close. */
export function stepWatchdog(
  state: WatchdogState,
  seen: { readonly bytes: Uint8Array; readonly isOpen: boolean },
  nowMs: number,
  timeoutMs: number,
): { readonly state: WatchdogState; readonly isStarved: boolean } {
  const lastByte = seen.bytes.at(-1)
  const next = lastByte === undefined ? state : { pettedAtMs: nowMs, lastByte }
  if (!seen.isOpen && next.lastByte === magicClose) return { state: disarmed, isStarved: false }
  return { state: next, isStarved: next.pettedAtMs !== undefined && nowMs - next.pettedAtMs > timeoutMs }
}

export interface Watchdog {
  /** Forgets everything, as a reset does. */
  reset(): void
  close(): void
}

/** Reads the FIFO every `pollMs` and calls `onStarved` once when nobody petted for the timeout that the file gives in whole seconds. */
export function startWatchdog(options: {
  readonly device: string
  readonly timeoutFile: string
  readonly pollMs: number
  readonly onStarved: () => void
}): Watchdog {
  // Held open for reading all the time, so that the agent's open neither blocks nor fails.
  const device = openSync(options.device, constants.O_RDONLY | constants.O_NONBLOCK)
  const buffer = Buffer.alloc(4096)
  let state = disarmed

  const look = (): { bytes: Uint8Array; isOpen: boolean } => {
    try {
      const length = readSync(device, buffer, 0, buffer.length, null)
      return { bytes: buffer.subarray(0, length), isOpen: length > 0 }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return { bytes: new Uint8Array(), isOpen: true }
      throw error
    }
  }
  const timer = setInterval(() => {
    const seen = look()
    const timeoutMs = Number(readFileSync(options.timeoutFile, 'utf8')) * 1000
    const result = stepWatchdog(state, seen, performance.now(), timeoutMs)
    state = result.isStarved ? disarmed : result.state
    if (result.isStarved) options.onStarved()
  }, options.pollMs)
  return {
    reset() {
      while (look().bytes.length > 0);
      state = disarmed
    },
    close() {
      clearInterval(timer)
      closeSync(device)
    },
  }
}
