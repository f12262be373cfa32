/** Two replicas over the faulty link: the configurations of both ends of a resource. */
import type { Network } from '../link/network.ts'
import type { ResourceConfig } from './state.ts'

interface ReplicaPlace {
  readonly room: string
  readonly node: string
  /** The unix socket at which this node's kernel takes connections of peers. */
  readonly peerSocket: string
}

export interface PairOptions {
  readonly name: string
  readonly minor: number
  readonly first: ReplicaPlace
  readonly second: ReplicaPlace
  readonly freeze: boolean
  readonly allowTwoPrimaries?: boolean
  readonly onSuspendedPrimaryOutdated?: ResourceConfig['onSuspendedPrimaryOutdated']
  readonly rrConflict?: ResourceConfig['rrConflict']
  /** A silent loss is noticed within `pingIntMs + pingTimeoutMs`; 1 s and 0.5 s, as roomfence wants it of real DRBD. */
  readonly pingIntMs?: number
  readonly pingTimeoutMs?: number
  readonly connectIntMs?: number
  readonly resyncMs?: number
}

/** The path of the network that replication takes. */
const STORAGE_PATH = 'storage'

/** Lays the link of a resource through the network; node ids are 0 for the first replica and 1 for the second. */
export async function pairReplicas(network: Network, options: PairOptions): Promise<{ first: ResourceConfig; second: ResourceConfig }> {
  const { first, second } = options
  const dial = await network.tcp({
    from: { site: first.room, node: first.node, path: STORAGE_PATH },
    to: { site: second.room, node: second.node, path: STORAGE_PATH },
    target: { path: second.peerSocket },
  })
  const both = {
    name: options.name,
    minor: options.minor,
    freeze: options.freeze,
    allowTwoPrimaries: options.allowTwoPrimaries ?? false,
    onSuspendedPrimaryOutdated: options.onSuspendedPrimaryOutdated ?? ('force-secondary' as const),
    rrConflict: options.rrConflict ?? ('retry-connect' as const),
    pingIntMs: options.pingIntMs ?? 1000,
    pingTimeoutMs: options.pingTimeoutMs ?? 500,
    connectIntMs: options.connectIntMs ?? 500,
    resyncMs: options.resyncMs ?? 300,
  }
  return {
    first: { ...both, nodeId: 0, peer: { nodeId: 1, name: second.node }, dial },
    second: { ...both, nodeId: 1, peer: { nodeId: 0, name: first.node } },
  }
}
