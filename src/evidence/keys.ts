/** Heartbeat keys from files: the present one signs, the one before is still believed; both are read again when they change. */
import { readFileSync, statSync } from 'node:fs'
import { type Key, keyOf } from './wire.ts'

const LEAST_BYTES = 32
const MOST_BYTES = 4096
const LEAST_DIFFERENT_BYTES = 8
const POLL_MS = 5000

export class KeyError extends Error {
  override readonly name = 'KeyError'
  readonly code: 'unreadable' | 'too-open' | 'too-short' | 'too-long' | 'too-plain'

  constructor(code: KeyError['code'], file: string, seen: string, allowed: string, cause?: unknown) {
    super(`${file}: saw ${seen}; allowed: ${allowed}`, { cause })
    this.code = code
  }
}

/**
 * The key in `file`; a line end after it is no part of it, so that editors and `echo` do no harm.
 *
 * @throws KeyError; its text never holds the key.
 */
export function readKey(file: string): Key {
  let bytes: Buffer
  let mode: number
  try {
    mode = statSync(file).mode
    bytes = readFileSync(file)
  } catch (cause) {
    throw new KeyError('unreadable', file, (cause as NodeJS.ErrnoException).code ?? 'an error', 'a key file that this user may read', cause)
  }
  if ((mode & 0o007) !== 0)
    throw new KeyError(
      'too-open',
      file,
      `mode ${(mode & 0o777).toString(8)}`,
      'no rights for others: chmod o= (in a Secret volume: defaultMode: 0400)',
    )
  while (bytes.length > 0 && (bytes.at(-1) === 0x0a || bytes.at(-1) === 0x0d)) bytes = bytes.subarray(0, -1)
  if (bytes.length < LEAST_BYTES)
    throw new KeyError('too-short', file, `${bytes.length} bytes`, `at least ${LEAST_BYTES} random bytes: openssl rand -base64 48`)
  if (bytes.length > MOST_BYTES) throw new KeyError('too-long', file, `${bytes.length} bytes`, `at most ${MOST_BYTES}`)
  const different = new Set(bytes).size
  if (different < LEAST_DIFFERENT_BYTES)
    throw new KeyError('too-plain', file, `only ${different} different bytes`, 'random bytes: openssl rand -base64 48')
  return keyOf(bytes)
}

export interface KeyRing {
  /** Signs what is sent. */
  current(): Key
  /** All that are believed, the present one first. */
  accepted(): readonly Key[]
  /** Reads the files again; what cannot be read leaves the keys as they are and is reported. */
  reload(): void
  stop(): void
}

export interface KeyFiles {
  readonly file: string
  readonly previousFile?: string
}

/** A key that was just replaced is believed for this long: two files are never exchanged in one moment, on all nodes at once. */
const GRACE_MS = 30_000

/**
 * @param onProblem a rotation that went wrong, in words without the key.
 * @throws KeyError when the present key cannot be had at start.
 */
export function openKeyRing(files: KeyFiles, onProblem: (problem: string) => void, clock: () => number = () => performance.now()): KeyRing {
  let current = readKey(files.file)
  let previous = previousKey(undefined)
  let replaced: { readonly key: Key; readonly untilMs: number }[] = []
  let stamp = stampOf(files)

  /** A previous key that is not there or empty (not yet, or no longer) is nothing wrong. */
  function previousKey(before: Key | undefined): Key | undefined {
    const { previousFile } = files
    if (previousFile === undefined || (statSync(previousFile, { throwIfNoEntry: false })?.size ?? 0) === 0) return undefined
    try {
      return readKey(previousFile)
    } catch (error) {
      onProblem(error instanceof Error ? error.message : String(error))
      return before
    }
  }

  function accepted(): readonly Key[] {
    const nowMs = clock()
    const all = [current, ...(previous ? [previous] : []), ...replaced.filter(({ untilMs }) => untilMs > nowMs).map(({ key }) => key)]
    return all.filter(({ id }, index) => all.findIndex((key) => key.id === id) === index)
  }

  function reload(): void {
    const before = previous ? [current, previous] : [current]
    stamp = stampOf(files)
    try {
      current = readKey(files.file)
    } catch (error) {
      onProblem(error instanceof Error ? error.message : String(error))
    }
    previous = previousKey(previous)
    const nowMs = clock()
    const gone = before.filter(({ id }) => id !== current.id && id !== previous?.id)
    replaced = [...replaced.filter(({ untilMs }) => untilMs > nowMs), ...gone.map((key) => ({ key, untilMs: nowMs + GRACE_MS }))]
  }

  const timer = setInterval(() => {
    if (stampOf(files) !== stamp) reload()
  }, POLL_MS)
  timer.unref()

  return { current: () => current, accepted, reload, stop: () => clearInterval(timer) }
}

/** Changes when a file is written, replaced, made or removed. */
function stampOf({ file, previousFile }: KeyFiles): string {
  return [file, previousFile]
    .map((name) => {
      const stat = name === undefined ? undefined : statSync(name, { throwIfNoEntry: false })
      return stat ? `${stat.ino} ${stat.mtimeMs} ${stat.size}` : '-'
    })
    .join(' ')
}
