/** The changes of the store, in order, so that a watch can start in the past; old ones are forgotten, as etcd compacts. */
import { StoreError } from './status.ts'
import type { StoreChange } from './objects.ts'

export interface PastChange extends StoreChange {
  readonly version: number
}

export interface History {
  record(version: number, change: StoreChange): void
  /** Changes of one resource after a version. 410 `Expired` if some of them are forgotten. */
  since(plural: string, version: number): readonly PastChange[]
  /** Whether a watch may still start at this version. */
  isKnown(version: number): boolean
  /** Forgets all changes up to a version: watches from before it are answered with 410. */
  compact(version: number): void
  /** Forgets everything, and runs on from a version (a restored backup). */
  forget(version: number): void
}

const KEPT_CHANGES = 10_000

export function createHistory(): History {
  let changes: PastChange[] = []
  let oldestKnown = 0
  const history: History = {
    record(version, change) {
      changes.push({ ...change, version })
      // In slices, so that forgetting is not paid for by every write.
      if (changes.length > KEPT_CHANGES * 1.2) history.compact(changes[changes.length - KEPT_CHANGES]?.version ?? version)
    },
    since(plural, version) {
      if (!history.isKnown(version)) throw new StoreError(410, 'Expired', `too old resource version: ${version} (${oldestKnown})`)
      return changes.filter((change) => change.version > version && change.plural === plural)
    },
    isKnown: (version) => version >= oldestKnown,
    compact(version) {
      changes = changes.filter((change) => change.version > version)
      oldestKnown = Math.max(oldestKnown, version)
    },
    forget(version) {
      changes = []
      oldestKnown = version
    },
  }
  return history
}
