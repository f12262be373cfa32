/** Opens what this agent keeps on disk: the protocol's state and what is remembered of replicas, each in a directory of its own. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { type DurableStore, openDurableStore } from '../../disk/durable-store.ts'
import { type Incarnation, incarnation } from '../../protocol/ids.ts'
import type { Durable } from '../../protocol/state.ts'
import { type KeptReplicas, type KeptState, NO_REPLICAS, parseKeptReplicas, parseKeptState } from './durable.ts'

export interface OpenState {
  readonly store: DurableStore<KeptState>
  readonly replicaStore: DurableStore<unknown>
  readonly kept: KeptReplicas
  readonly own: Incarnation
  readonly durable: Durable | null
}

/** @throws DurableError: `corrupt` and `lost` mean that nobody knows what this node promised. */
export async function openState(stateDirectory: string): Promise<OpenState> {
  const store = await openDurableStore<KeptState>({ directory: join(stateDirectory, 'protocol'), name: 'protocol', parse: parseKeptState })
  try {
    const loaded = store.loaded.kind === 'value' ? store.loaded.value : undefined
    const own = loaded?.incarnation ?? incarnation(`i${randomBytes(8).toString('hex')}`)
    if (!loaded) await store.save({ incarnation: own, durable: null })
    const replicaStore = await openDurableStore<unknown>({
      directory: join(stateDirectory, 'replicas'),
      name: 'replicas',
      parse: (value) => value,
    })
    const kept = replicaStore.loaded.kind === 'value' ? parseKeptReplicas(replicaStore.loaded.value) : NO_REPLICAS
    return { store, replicaStore, kept, own, durable: loaded?.durable ?? null }
  } catch (error) {
    await store.close()
    throw error
  }
}
