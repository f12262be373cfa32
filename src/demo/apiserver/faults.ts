/** What the demo and the tests can make go wrong with the API server. Not reachable over the network. */
import type { Snapshot, Store } from './store.ts'

export interface Fault {
  /** Waits before each answer. */
  readonly latencyMs?: number
  /** Answers every request with this, before it has any effect. */
  readonly answer?: { readonly status: 429 | 500 | 503; readonly retryAfterSeconds?: number }
  /** Accepts requests and never answers. */
  readonly isHanging?: boolean
  /** Which requests it concerns; by default all. */
  readonly appliesTo?: (request: { readonly method: string; readonly path: string; readonly userName: string }) => boolean
}

export interface Faults {
  /** Replaces the faults in force; none of them ends all. */
  set(...faults: readonly Fault[]): void
  current(): readonly Fault[]
  /** Refuses connections and drops the open ones, until `accept`. */
  refuse(): Promise<void>
  accept(): Promise<void>
  /** Drops the open connections, watches among them; new ones are accepted. */
  dropConnections(): void
  /** Reads and watches show the store as it is now, whatever is written from now on (a stale replica), until `thaw`. */
  freeze(): void
  thaw(): void
  isFrozen(): boolean
  /** Watches from before now are answered with 410. */
  compact(): void
  snapshot(): Snapshot
  /** Puts an older state of the store back and drops all connections, as an etcd restored from a backup does. */
  rollback(snapshot: Snapshot): void
}

/** The doors of the server that faults open and close. */
export interface Doors {
  close(): Promise<void>
  open(): Promise<void>
  dropConnections(): void
  thawed(): void
}

export interface FaultState extends Faults {
  /** What reads show: the frozen state, or undefined for the live one. */
  frozen(): Snapshot | undefined
}

export function createFaults(store: Store, doors: Doors): FaultState {
  let faults: readonly Fault[] = []
  let frozen: Snapshot | undefined
  return {
    set(...next) {
      faults = next
    },
    current: () => faults,
    refuse: () => doors.close(),
    accept: () => doors.open(),
    dropConnections: () => doors.dropConnections(),
    freeze() {
      frozen ??= store.snapshot()
    },
    thaw() {
      frozen = undefined
      doors.thawed()
    },
    isFrozen: () => frozen !== undefined,
    frozen: () => frozen,
    compact: () => store.history.compact(store.version()),
    snapshot: () => store.snapshot(),
    rollback(snapshot) {
      // First, or the open watches would be told what nobody is told by an API server that starts on a restored etcd.
      doors.dropConnections()
      store.rollback(snapshot)
    },
  }
}
