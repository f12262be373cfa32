/** The imperative shell of the protocol: inputs in, one step at a time, effects to the adapters. Decides nothing. */
import type { Membership } from '../protocol/membership.ts'
import type { Message, WitnessAnswer, WitnessRequest } from '../protocol/messages.ts'
import type { NodeId } from '../protocol/ids.ts'
import type { ContainmentLevel } from '../protocol/process.ts'
import type { Durable, Effect, Input, NoteCode, State } from '../protocol/state.ts'
import { step } from '../protocol/step.ts'

export interface LoopAdapters {
  readonly nowMs: () => number
  /** Resolves when it is on disk for good. */
  readonly persist: (durable: Durable) => Promise<void>
  /** A state is on disk, and the protocol knows it. */
  readonly onPersisted: () => void
  readonly send: (to: NodeId, message: Message) => void
  readonly askWitness: (request: WitnessRequest) => Promise<WitnessAnswer>
  readonly contain: (level: ContainmentLevel) => void
  readonly reboot: (reason: string) => void
  /** Resolves with whether all that is alive here is bound to this node; rejects where nobody can tell now. */
  readonly isAllBound: () => Promise<boolean>
  readonly onLearned: (membership: Membership, before: Membership | null) => void
  readonly onNote: (code: NoteCode, text: string, nodes: readonly NodeId[]) => void
}

export interface Loop {
  readonly state: () => State
  readonly feed: (input: Input) => void
}

/** How often the protocol is asked what time it is. */
export const TICK_MS = 100

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

export function createLoop(first: State, adapters: LoopAdapters): Loop {
  let state = first
  const queue: Input[] = []
  let isStepping = false

  const feed = (input: Input): void => {
    queue.push(input)
    if (isStepping) return
    isStepping = true
    try {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const result = step(state, next, adapters.nowMs())
        state = result.state
        for (const effect of result.effects) execute(effect)
      }
    } finally {
      isStepping = false
    }
  }

  const execute = (effect: Effect): void => {
    switch (effect.kind) {
      case 'persist': {
        const { version } = effect
        adapters.persist(effect.durable).then(
          () => {
            feed({ kind: 'persisted', version })
            adapters.onPersisted()
          },
          (error: unknown) => feed({ kind: 'persist-failed', reason: messageOf(error) }),
        )
        return
      }
      case 'send':
        if (effect.to === state.self.node) {
          const { message } = effect
          queueMicrotask(() => feed({ kind: 'message', from: state.self.node, incarnation: state.self.incarnation, message }))
        } else adapters.send(effect.to, effect.message)
        return
      case 'witness': {
        const { id } = effect.request
        adapters.askWitness(effect.request).then(
          (answer) => feed({ kind: 'witness', answer }),
          (error: unknown) => feed({ kind: 'witness', answer: { kind: 'failed', id, reason: messageOf(error) } }),
        )
        return
      }
      case 'contain':
        return adapters.contain(effect.level)
      case 'reboot':
        return adapters.reboot(effect.reason)
      case 'check-bound': {
        const { lastFence } = effect
        adapters.isAllBound().then(
          (isAllBound) => {
            if (isAllBound) feed({ kind: 'bound', lastFence })
          },
          // Asked again.
          () => undefined,
        )
        return
      }
      case 'learned':
        return adapters.onLearned(effect.membership, effect.before)
      case 'note':
        return adapters.onNote(effect.code, effect.text, effect.nodes ?? [])
    }
  }
  return { state: () => state, feed }
}
