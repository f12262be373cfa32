/** The watchdog device: a timer in the kernel or the board that resets this node when it is no longer petted. Adapter. */
import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs'

export type WatchdogConfiguration =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'device'
      /** `/dev/watchdog`. Opening it starts the timer. */
      readonly device: string
      /** Whole seconds, as `/sys/class/watchdog/watchdog0/timeout`. */
      readonly timeoutFile: string
      /** `1`: once opened, nothing but petting keeps the node up. Undefined reads as 0. */
      readonly nowayoutFile?: string | undefined
    }

export type WatchdogErrorCode = 'missing' | 'busy' | 'forbidden' | 'timeout-unknown' | 'not-openable'

class WatchdogError extends Error {
  readonly code: WatchdogErrorCode

  constructor(code: WatchdogErrorCode, message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'WatchdogError'
    this.code = code
  }
}

export type Written = { readonly kind: 'written' } | { readonly kind: 'failed'; readonly reason: string }

export interface Watchdog {
  readonly timeoutMs: number
  /** False with `nowayout`: then only a reboot ends it. */
  readonly mayDisarm: boolean
  /** Puts the timer back to its start. Never blocks. Look at the permit immediately before, not earlier. */
  readonly pet: () => Written
  /**
   * Magic close: the timer is stopped. Only after a majority has acknowledged that this node's watchdog protects no longer. With `nowayout` it is refused
   * and the device stays open, to be petted on.
   */
  readonly disarm: () => Written
  /** Closes without disarming: the node is reset after `timeoutMs`. */
  readonly abandon: () => void
}

/**
 * Arms the watchdog; undefined for `none`.
 *
 * @throws WatchdogError with what to do. The timeout is read first: a timer of unknown length is never started.
 */
export function openWatchdog(configuration: WatchdogConfiguration): Watchdog | undefined {
  if (configuration.kind === 'none') return undefined
  const { device, timeoutFile, nowayoutFile } = configuration
  const timeoutMs = readTimeoutMs(timeoutFile)
  const mayDisarm = !isNowayout(nowayoutFile)
  const descriptor = open(device)
  let isOpen = true
  const write = (text: string): Written => {
    if (!isOpen) return { kind: 'failed', reason: `${device} is closed` }
    try {
      writeSync(descriptor, text)
      return { kind: 'written' }
    } catch (error) {
      // EAGAIN and EPIPE come from a pipe in place of a device: nobody counts the pets.
      return {
        kind: 'failed',
        reason: `cannot write to ${device} (${(error as NodeJS.ErrnoException).code}): the node is reset in ${timeoutMs} ms`,
      }
    }
  }
  const close = () => {
    if (isOpen) closeSync(descriptor)
    isOpen = false
  }
  return {
    timeoutMs,
    mayDisarm,
    pet: () => write('\0'),
    disarm: () => {
      if (!mayDisarm) return { kind: 'failed', reason: `${device} cannot be disarmed (nowayout): pet it until the node is shut down` }
      const written = write('V')
      if (written.kind === 'written') close()
      return written
    },
    abandon: close,
  }
}

function open(device: string): number {
  try {
    // O_NONBLOCK for a FIFO: without a reader it fails at once (ENXIO), and a full one never blocks the event loop.
    return openSync(device, constants.O_WRONLY | constants.O_NONBLOCK)
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown'
    const say = (kind: WatchdogErrorCode, next: string) =>
      new WatchdogError(kind, `cannot open watchdog ${device} (${code}): ${next}`, cause)
    if (code === 'ENOENT' || code === 'ENXIO' || code === 'ENODEV') {
      throw say(
        'missing',
        'load its driver (softdog where there is no hardware), or set watchdog.kind to none and live without the timed proof',
      )
    }
    if (code === 'EBUSY') throw say('busy', 'another program has it open (systemd RuntimeWatchdogSec, watchdogd, sbd?); only one can')
    if (code === 'EACCES' || code === 'EPERM') throw say('forbidden', 'the agent must run as root with the device of the host')
    throw say('not-openable', 'see the kernel log')
  }
}

function readTimeoutMs(file: string): number {
  const text = readText(file)
  if (!/^\d{1,5}$/.test(text) || Number(text) < 1) {
    throw new WatchdogError('timeout-unknown', `${file} is "${text.slice(0, 40)}", but must be whole seconds from 1 to 99999`)
  }
  return Number(text) * 1000
}

function isNowayout(file: string | undefined): boolean {
  if (file === undefined) return false
  const text = readText(file)
  if (text === '0' || text === '1') return text === '1'
  throw new WatchdogError('timeout-unknown', `${file} is "${text.slice(0, 40)}", but must be 0 or 1`)
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown'
    throw new WatchdogError(
      'timeout-unknown',
      `cannot read ${file} (${code}): is the watchdog's driver loaded, and /sys the host's?`,
      cause,
    )
  }
}
