/** What a step gives out, in order. Nothing is said of the durable state before it is on disk. Pure. */
import type { NodeId } from './ids.ts'
import type { Message, WitnessRequest } from './messages.ts'
import type { ContainmentLevel } from './process.ts'
import type { Durable, Effect, NoteCode, State } from './state.ts'

export type Outbox = Effect[]

/** Sends wait for the disk: a promise, a vote or an epoch that a crash could forget must not have been told. */
function emit(state: State, out: Outbox, effect: Effect): void {
  if (state.disk.persistedVersion < state.disk.version) state.disk.unsent.push({ version: state.disk.version, effect })
  else out.push(effect)
}

export const send = (state: State, out: Outbox, to: NodeId, message: Message): void => emit(state, out, { kind: 'send', to, message })

export const askWitness = (state: State, out: Outbox, request: WitnessRequest): void => emit(state, out, { kind: 'witness', request })

export const emitLearned = (state: State, out: Outbox, effect: Extract<Effect, { kind: 'learned' }>): void => emit(state, out, effect)

/** Containment never waits for a disk. */
export const contain = (out: Outbox, level: ContainmentLevel): void => void out.push({ kind: 'contain', level })

export const note = (out: Outbox, code: NoteCode, text: string, nodes?: readonly NodeId[]): void =>
  void out.push(nodes ? { kind: 'note', code, text, nodes } : { kind: 'note', code, text })

export function changeDurable(state: State, out: Outbox, change: Partial<Durable>): void {
  state.durable = { ...state.durable, ...change }
  state.disk.version += 1
  out.push({ kind: 'persist', version: state.disk.version, durable: state.durable })
}

/** Until it answers nothing is said that it should remember. */
export function persistFailed(state: State, reason: string): void {
  state.disk.failure = reason
}

/** A disk that failed is tried again where something waits for it. */
export function retryPersist(state: State, out: Outbox): void {
  if (state.disk.failure === null || state.disk.unsent.length === 0) return
  state.disk.failure = null
  changeDurable(state, out, {})
}

export function persisted(state: State, out: Outbox, version: number): void {
  state.disk.persistedVersion = Math.max(state.disk.persistedVersion, version)
  // A slow write that was older than one that failed says nothing of that one.
  if (state.disk.persistedVersion >= state.disk.version) state.disk.failure = null
  let released = 0
  for (const { version: needed, effect } of state.disk.unsent) {
    if (needed > state.disk.persistedVersion) break
    out.push(effect)
    released += 1
  }
  state.disk.unsent.splice(0, released)
}
