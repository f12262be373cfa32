/**
 * The register inside the bundled witness: one write at a time, answered only once it is on disk. A read is answered from what is on disk
 * for good, so what was read never disappears.
 */
import { DurableError } from '../disk/durable-error.ts'
import { type DurableStore, openDurableStore } from '../disk/durable-store.ts'
import { parseRegister } from '../evidence/membership-schema.ts'
import type { Epoch } from '../protocol/ids.ts'
import { memberOf } from '../protocol/membership.ts'
import type { Register } from '../protocol/messages.ts'
import { countsAsAck, type Reader, type WitnessMemory } from './register.ts'

type WriteResult =
  | { readonly kind: 'written'; readonly version: number }
  | { readonly kind: 'conflict'; readonly register: Register }
  | { readonly kind: 'none' }
  | { readonly kind: 'busy' }
  | { readonly kind: 'failed'; readonly error: DurableError }

export interface KeptRegister {
  /** Undefined: genesis has not been made. */
  current(): Register | undefined
  /** Whether this read is an ack; it is remembered if so. */
  countRead(register: Register, reader: Reader, epoch: Epoch, digest: string): boolean
  /** `expected`: the version that is to be replaced, or 'none' where there must not be a register yet. */
  write(expected: number | 'none', proposed: Omit<Register, 'version'>): Promise<WriteResult>
  memory(): WitnessMemory
  /** A disk that failed in the middle: nothing is served any more, as what is on it is not known. */
  failure(): DurableError | undefined
  close(): Promise<void>
}

const MOST_WAITING = 64

/** @throws DurableError when the state is damaged, lost or held by another program. */
export async function openKeptRegister(directory: string, clock: () => number): Promise<KeptRegister> {
  const store: DurableStore<Register> = await openDurableStore({ directory, name: 'register', parse: parseRegister })
  const startedAtMs = clock()
  const ackedAt = new Map<string, { readonly reader: Reader; readonly epoch: Epoch; readonly atMs: number }>()
  let current = store.loaded.kind === 'value' ? store.loaded.value : undefined
  let failure: DurableError | undefined
  let waiting = 0
  let last: Promise<unknown> = Promise.resolve()

  async function write(expected: number | 'none', proposed: Omit<Register, 'version'>): Promise<WriteResult> {
    if (failure) return { kind: 'failed', error: failure }
    if (current === undefined) {
      if (expected !== 'none') return { kind: 'none' }
    } else if (current.version !== expected) return { kind: 'conflict', register: current }
    const { incarnation, membership, accepted } = proposed
    const next: Register = { incarnation, version: (current?.version ?? 0) + 1, membership, accepted }
    try {
      await store.save(next)
    } catch (error) {
      if (!(error instanceof DurableError)) throw error
      if (error.code !== 'no-space') failure = error
      return { kind: 'failed', error }
    }
    current = next
    // Bounded by the membership: lives of nodes that are over need no memory.
    for (const [key, { reader }] of ackedAt) if (memberOf(membership, reader.node)?.incarnation !== reader.incarnation) ackedAt.delete(key)
    return { kind: 'written', version: next.version }
  }

  return {
    current: () => current,
    countRead(register, reader, epoch, digest) {
      if (!countsAsAck(register, reader, epoch, digest)) return false
      ackedAt.set(`${reader.node}/${reader.incarnation}`, { reader, epoch, atMs: clock() })
      return true
    },
    async write(expected, proposed) {
      if (waiting >= MOST_WAITING) return { kind: 'busy' }
      waiting += 1
      const result = last.then(() => write(expected, proposed))
      last = result.catch(() => undefined)
      try {
        return await result
      } finally {
        waiting -= 1
      }
    },
    memory() {
      const nowMs = clock()
      return {
        acks: [...ackedAt.values()].map(({ reader, epoch, atMs }) => ({ ...reader, epoch, agoMs: nowMs - atMs })),
        startedAgoMs: nowMs - startedAtMs,
      }
    },
    failure: () => failure,
    async close() {
      await last
      await store.close()
    },
  }
}
