/** What the protocol's effects do in this process. Adapter shell. */
import { fencedNodes } from '../protocol/membership.ts'
import type { NodeId } from '../protocol/ids.ts'
import type { NoteCode, State } from '../protocol/state.ts'
import { nowMs, sleep } from './clock.ts'
import type { Fences } from './fences/fences.ts'
import { podsNotBound } from './guard/bound-pods.ts'
import type { Guard } from './guard/guard.ts'
import type { LoopAdapters } from './loop.ts'
import type { Storage } from './storage/storage.ts'
import type { Surroundings } from './surroundings.ts'

/** What effects reach. The loop comes first and they need its state, so they are asked for when an effect is there. */
export interface Reached {
  readonly state: () => State
  readonly guard: Guard
  readonly storage: Storage
  readonly fences: Fences
}

const PERSIST_AGAIN_MS = 1_000

export function loopAdapters(surroundings: Surroundings, reached: () => Reached): LoopAdapters {
  const { witness, network, stopping, log, metrics } = surroundings
  return {
    nowMs,
    persist: persistWith(surroundings),
    // Who learned a fence while its state was being written carries it out from then on.
    onPersisted: () => reached().fences.review(),
    send: (to, message) => network.transport.send(to, message),
    askWitness: (request) =>
      witness?.request(request, stopping.signal) ??
      Promise.resolve({ kind: 'failed', id: request.id, reason: 'no witness is configured here' }),
    contain: (level) => reached().guard.contain(level),
    reboot: (reason) => reached().guard.reboot(reason),
    isAllBound: async () => isAllBound(await reached().guard.alive(), surroundings),
    onLearned: (membership, before) => {
      const { state, storage, fences } = reached()
      network.setMembers(state().durable.membership)
      storage.onLearned(membership, before)
      fences.onLearned(membership, before)
      log.warn(
        { epoch: membership.epoch, cause: membership.cause, fenced: fencedNodes(membership) },
        `epoch ${membership.epoch}: ${membership.cause.kind}`,
      )
      if (membership.cause.kind === 'fence' || membership.cause.kind === 'forced') metrics.fences.inc()
    },
    onNote: (code, text, nodes) => tellNote(code, text, nodes, surroundings),
  }
}

const persistWith =
  ({ opened: { store, own }, log, metrics }: Surroundings): LoopAdapters['persist'] =>
  async (durable) => {
    const end = metrics.persistSeconds.startTimer()
    try {
      await store.save({ incarnation: own, durable })
    } catch (error) {
      metrics.persistFailures.inc()
      log.error({ error }, 'the durable state was not written: this node says nothing until it is')
      await sleep(PERSIST_AGAIN_MS)
      throw error
    } finally {
      end()
    }
  }

async function isAllBound(alive: readonly string[], { client, self, stopping, log }: Surroundings): Promise<boolean> {
  const pods = await podsNotBound(client, self.node, alive, stopping.signal)
  if (pods.length > 0) log.warn({ pods }, 'pods that were deleted meanwhile are still here: all stays paused until their end')
  return pods.length === 0
}

const warned: ReadonlySet<NoteCode> = new Set<NoteCode>(['conflict', 'own-fence', 'permit-lost', 'fence-chosen'])

function tellNote(code: NoteCode, text: string, nodes: readonly NodeId[], { log, metrics }: Surroundings): void {
  if (code === 'veto') metrics.vetoes.inc()
  if (code === 'permit-lost') metrics.permitLosses.inc()
  if (code === 'late') metrics.late.inc()
  const line = { note: code, ...(nodes.length === 0 ? {} : { nodes }) }
  if (code === 'invariant-broken') log.fatal(line, text)
  else if (warned.has(code)) log.warn(line, text)
  else if (code === 'learned') log.debug(line, text)
  else log.info(line, text)
}
