/** What this agent remembers of its replicas: held here, and on disk before it is needed. Adapter shell. */
import type { DurableStore } from '../../disk/durable-store.ts'
import type { KnownDrbd } from '../../drbd/drbdsetup.ts'
import { distrust, isSameMemory, remember } from '../../drbd/memory.ts'
import type { Log } from '../../observe/log.ts'
import { type KeptReplicas, replicasAsJson } from '../state/durable.ts'

export interface Memory {
  readonly current: () => KeptReplicas
  /** Resolves when it is written, or was tried: a failure is told and no more. */
  readonly change: (change: Partial<KeptReplicas>) => Promise<void>
  readonly markTouched: (resource: string, peer: string) => Promise<void>
  readonly markReleased: (resource: string, peer: string) => Promise<void>
  /** Rejects when it cannot be written. */
  readonly distrustAll: () => Promise<void>
  readonly stop: () => Promise<void>
}

export function createMemory(first: KeptReplicas, store: DurableStore<unknown>, log: Log): Memory {
  let kept = first
  const change = async (fields: Partial<KeptReplicas>): Promise<void> => {
    kept = { ...kept, ...fields }
    await store.save(replicasAsJson(kept)).catch((error: unknown) => log.error({ error }, 'what is remembered of replicas was not written'))
  }
  const touchedPeers = (resource: string): Set<string> => new Set(kept.touched.get(resource) ?? [])
  const changeTouched = async (resource: string, peers: ReadonlySet<string>): Promise<void> =>
    change({ touched: new Map(kept.touched).set(resource, peers) })
  return {
    current: () => kept,
    change,
    markTouched: async (resource, peer) => {
      const peers = touchedPeers(resource)
      if (!peers.has(peer)) await changeTouched(resource, peers.add(peer))
    },
    markReleased: async (resource, peer) => {
      const peers = touchedPeers(resource)
      peers.delete(peer)
      await changeTouched(resource, peers)
    },
    distrustAll: async () => {
      kept = { ...kept, memory: new Map([...kept.memory].map(([name, peers]) => [name, distrust(peers)])) }
      await store.save(replicasAsJson(kept))
    },
    stop: async () => store.close(),
  }
}

/** The memory after one more reading; the very same object where nothing changed that must be written. Pure. */
export function afterReading(memory: KeptReplicas['memory'], snapshot: KnownDrbd, mayTrust: boolean): KeptReplicas['memory'] {
  let next = memory
  for (const resource of snapshot.resources) {
    const before = memory.get(resource.name) ?? new Map()
    const after = remember(before, resource, snapshot.readAtMs, mayTrust)
    if (!isSameMemory(before, after)) next = new Map(next).set(resource.name, after)
  }
  return next
}
