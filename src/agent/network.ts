/** Whom this agent talks to: the members, and strangers who introduced themselves. Adapter shell. */
import type { Configuration } from '../config/schema.ts'
import type { KeyRing } from '../evidence/keys.ts'
import { createTransport, type Peer, type Transport } from '../evidence/transport.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Incarnation, NodeId } from '../protocol/ids.ts'
import type { Address, Membership } from '../protocol/membership.ts'
import { nowMs } from './clock.ts'

export interface NetworkOptions {
  readonly configuration: Configuration
  readonly node: NodeId
  readonly incarnation: Incarnation
  readonly keys: KeyRing
  readonly metrics: Metrics
}

export interface Network {
  readonly transport: Transport
  readonly setMembers: (membership: Membership | null) => void
}

/** Addresses under which the others reach this node. */
export const advertised = ({ paths }: Configuration): readonly Address[] =>
  paths.map((path) => ({
    path: path.name,
    host: path.advertiseHost ?? path.listenHost,
    port: path.advertisePort ?? path.listenPort,
  }))

export async function createNetwork({ configuration, node, incarnation, keys, metrics }: NetworkOptions): Promise<Network> {
  const strangers = new Map<NodeId, readonly Address[]>()
  let members: Membership['members'] = []
  const setPeers = (): void => transport.setPeers(peersOf(members, strangers, configuration.peerAddresses))
  const transport = await createTransport({
    node,
    incarnation,
    paths: configuration.paths.map(({ name, listenHost, listenPort }) => ({ name, listenHost, listenPort })),
    keys,
    clock: nowMs,
    onRefused: (reason) => metrics.packetsRefused.inc({ reason }),
    onStranger: (from, _life, join) => {
      strangers.set(from, join.addresses)
      setPeers()
    },
  })
  return {
    transport,
    setMembers: (membership) => {
      members = membership?.members ?? []
      setPeers()
    },
  }
}

/** An address that is configured here counts more than what a peer says of itself. */
function peersOf(
  members: Membership['members'],
  strangers: ReadonlyMap<NodeId, readonly Address[]>,
  configured: Configuration['peerAddresses'],
): readonly Peer[] {
  const known = new Map(strangers)
  for (const { node, addresses } of members) known.set(node, addresses)
  return [...known].map(([node, addresses]) => ({ node, addresses: configured[node] ?? addresses }))
}
