/** One replica on disk: a log of records, a small file of metadata, and a journal that tells the observer what was written when. */
import { createHash } from 'node:crypto'
import { appendFileSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { DiskState, Generation } from './state.ts'

interface ReplicaMetadata {
  readonly disk: DiskState
  readonly generation: Generation
  readonly primary: boolean
  readonly peerOutdated: boolean
  readonly outOfSyncWrites: number
}

export interface Replica {
  metadata(): ReplicaMetadata
  save(metadata: ReplicaMetadata): void
  append(line: string, origin: 'local' | 'peer'): void
  content(): string
  digest(): { readonly records: number; readonly digest: string }
  /** Puts the peer's log in the place of this one: what a resync does to its target. */
  replace(content: string): void
  /** From here on nothing reaches the disk any more, as when the power goes. */
  halt(): void
}

/** Paths of one replica, for the observer: the log itself and the journal of what reached this disk. */
export function replicaPaths(directory: string, resource: string): { log: string; metadata: string; journal: string } {
  const base = join(directory, resource)
  return { log: `${base}.log`, metadata: `${base}.meta.json`, journal: `${base}.journal` }
}

/** Milliseconds of the machine's monotonic clock, the same for all processes. */
export const monotonicMs = (): number => Number(process.hrtime.bigint() / 1000n) / 1000

/** Opens a replica, or makes an empty one of the resource's first generation (both replicas start in sync, as after a skipped initial sync). */
export function openReplica(directory: string, resource: string): Replica {
  mkdirSync(directory, { recursive: true })
  const paths = replicaPaths(directory, resource)
  let known: ReplicaMetadata = existsSync(paths.metadata)
    ? (JSON.parse(readFileSync(paths.metadata, 'utf8')) as ReplicaMetadata)
    : {
        disk: 'UpToDate',
        generation: { current: createHash('sha256').update(resource).digest('hex').slice(0, 16), bitmap: '', history: [] },
        primary: false,
        peerOutdated: false,
        outOfSyncWrites: 0,
      }
  let log = openSync(paths.log, 'a')
  let isHalted = false
  return {
    metadata: () => known,
    save(metadata) {
      if (isHalted) return
      known = metadata
      writeFileSync(`${paths.metadata}.new`, JSON.stringify(metadata))
      renameSync(`${paths.metadata}.new`, paths.metadata)
    },
    append(line, origin) {
      if (isHalted) return
      writeSync(log, `${line}\n`)
      appendFileSync(paths.journal, `${monotonicMs()} ${origin} ${line}\n`)
    },
    content: () => readFileSync(paths.log, 'utf8'),
    digest() {
      const text = readFileSync(paths.log, 'utf8')
      return { records: text.split('\n').length - 1, digest: createHash('sha1').update(text).digest('hex') }
    },
    replace(content) {
      if (isHalted) return
      writeFileSync(`${paths.log}.new`, content)
      renameSync(`${paths.log}.new`, paths.log)
      closeSync(log)
      log = openSync(paths.log, 'a')
      appendFileSync(paths.journal, `${monotonicMs()} resync ${content.split('\n').length - 1}\n`)
    },
    halt() {
      if (isHalted) return
      isHalted = true
      closeSync(log)
    },
  }
}
