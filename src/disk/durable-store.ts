/**
 * State that must survive a crash, as one value in one file: written aside, fsynced, renamed, directory fsynced, and only then announced.
 * What is found damaged or missing is an error, never an empty state: a voter that forgot its promises must not vote (docs/protocol/membership.md).
 *
 * In the directory: `NAME.state` (the value), `NAME.previous` (the one before, for people: it is never loaded, as it lacks promises),
 * `NAME.exists` (proof that there was a value), `NAME.new` (being written) and `lock`.
 */
import { constants } from 'node:fs'
import { access, type FileHandle, link, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type DirectoryLock, lockDirectory } from './directory-lock.ts'
import { DurableError, errnoOf, refusedBySystem } from './durable-error.ts'
import { decodeStateFile, encodeStateFile } from './state-file.ts'

/** `empty`: this directory never held a value. */
export type Loaded<T> = { readonly kind: 'empty' } | { readonly kind: 'value'; readonly value: T; readonly generation: number }

export interface DurableStore<T> {
  /** What was on disk when the store was opened. */
  readonly loaded: Loaded<T>
  /**
   * Resolves once `value` is on disk for good; calls are carried out one after the other, in order. After a rejection the value before
   * or this one is on disk, whole; saving again is safe.
   *
   * @throws DurableError `no-space`, `denied` or `io`.
   */
  save(value: T): Promise<void>
  /** Waits for saves under way and gives the directory free. */
  close(): Promise<void>
}

/** The seams through which a test makes the disk fail. */
export interface Disk {
  open(file: string, flags: string, mode: number): Promise<Pick<FileHandle, 'writeFile' | 'sync' | 'close'>>
  rename(from: string, to: string): Promise<void>
}

const realDisk: Disk = { open, rename }

async function exists(file: string): Promise<boolean> {
  try {
    await access(file, constants.F_OK)
    return true
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return false
    throw refusedBySystem(file, 'looking for the file', cause)
  }
}

async function syncDirectory(directory: string, disk: Disk): Promise<void> {
  const handle = await disk.open(directory, 'r', 0)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function writeSynced(file: string, bytes: Buffer, disk: Disk): Promise<void> {
  const handle = await disk.open(file, 'w', 0o600)
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const BACKUP_IS_NO_WAY =
  'do not restore a backup or NAME.previous: it lacks promises that were made since. Move the directory away and start again; this node then comes back as a new incarnation'

async function loadFrom<T>(files: Files, parse: (value: unknown) => T): Promise<Loaded<T>> {
  let bytes: Buffer
  try {
    bytes = await readFile(files.state)
  } catch (cause) {
    if (errnoOf(cause) !== 'ENOENT') throw refusedBySystem(files.state, 'reading the state', cause)
    for (const trace of [files.exists, files.previous])
      if (await exists(trace))
        throw new DurableError('lost', files.state, `it is gone, but ${trace} shows that it was there`, BACKUP_IS_NO_WAY)
    return { kind: 'empty' }
  }
  const record = decodeStateFile(bytes)
  if (!record.isSound) throw new DurableError('corrupt', files.state, record.seen, BACKUP_IS_NO_WAY)
  try {
    return { kind: 'value', value: parse(record.value), generation: record.generation }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new DurableError(
      'invalid',
      files.state,
      `its content is not allowed: ${reason}`,
      'run the version of roomfence that wrote it',
      cause,
    )
  }
}

interface Files {
  readonly state: string
  readonly previous: string
  readonly exists: string
  readonly aside: string
}

export interface DurableOptions<T> {
  /** Made when it is missing, for its owner alone. */
  readonly directory: string
  readonly name: string
  /** The value from its JSON; throws when that is not one. */
  readonly parse: (value: unknown) => T
  readonly disk?: Disk
}

/** @throws DurableError */
export async function openDurableStore<T>({ directory, name, parse, disk = realDisk }: DurableOptions<T>): Promise<DurableStore<T>> {
  const at = (ending: string) => join(directory, `${name}.${ending}`)
  const files: Files = { state: at('state'), previous: at('previous'), exists: at('exists'), aside: at('new') }
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw refusedBySystem(directory, 'making the directory', cause)
  }
  const lock = await lockDirectory(directory)
  try {
    const loaded = await loadFrom(files, parse)
    return openedStore(directory, files, loaded, lock, disk)
  } catch (cause) {
    await lock.release()
    throw cause
  }
}

function openedStore<T>(directory: string, files: Files, loaded: Loaded<T>, lock: DirectoryLock, disk: Disk): DurableStore<T> {
  let generation = loaded.kind === 'value' ? loaded.generation : 0
  let isMarked = false
  let isClosed = false
  let last: Promise<void> = Promise.resolve()

  async function keepPrevious(): Promise<void> {
    await rm(files.previous, { force: true })
    try {
      await link(files.state, files.previous)
    } catch (cause) {
      if (errnoOf(cause) !== 'ENOENT') throw cause
    }
  }

  async function write(value: T): Promise<void> {
    const bytes = encodeStateFile(generation + 1, value)
    try {
      await writeSynced(files.aside, bytes, disk)
      await keepPrevious()
      await disk.rename(files.aside, files.state)
      generation += 1
      if (!isMarked) {
        // After the first value, not before it: a crash in between must not look like a loss. Nothing was announced yet.
        await writeSynced(files.exists, Buffer.from('There was a state in this directory: where it is missing, it was lost.\n'), disk)
      }
      await syncDirectory(directory, disk)
      isMarked = true
    } catch (cause) {
      throw refusedBySystem(files.state, 'saving the state', cause)
    }
  }

  return {
    loaded,
    save(value) {
      if (isClosed) return Promise.reject(new DurableError('io', files.state, 'the store is closed', 'save before closing it'))
      const saved = last.then(() => write(value))
      last = saved.catch(() => undefined)
      return saved
    },
    async close() {
      if (isClosed) return
      isClosed = true
      await last
      await lock.release()
    },
  }
}
