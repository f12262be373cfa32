/** What the parts of an agent stand on: its log, disk, keys, sockets, and the ways to the API server and the witness. Adapter shell. */
import { readFileSync } from 'node:fs'
import type { Configuration } from '../config/schema.ts'
import { type KeyRing, openKeyRing } from '../evidence/keys.ts'
import { createKubeClient, type KubeClient } from '../kubernetes/client.ts'
import { kubeconfigCredentials, serviceAccountCredentials } from '../kubernetes/credentials.ts'
import type { Log } from '../observe/log.ts'
import type { Metrics } from '../observe/metrics.ts'
import { bootId, nodeId } from '../protocol/ids.ts'
import type { Self } from '../protocol/state.ts'
import { createHttpWitness } from '../witness/http-client.ts'
import type { WitnessClient } from '../witness/register.ts'
import { advertised, createNetwork, type Network } from './network.ts'
import type { OpenState } from './state/kept-state.ts'
import { learnOwnRoom } from './state/own-room.ts'

export interface Surroundings {
  readonly configuration: Configuration
  readonly self: Self
  readonly opened: OpenState
  readonly client: KubeClient
  readonly keyRing: KeyRing
  readonly network: Network
  /** Null where none is configured. */
  readonly witness: WitnessClient | null
  readonly stopping: AbortController
  readonly log: Log
  readonly metrics: Metrics
}

export function createClient({ cluster, timings }: Configuration, metrics: Metrics): KubeClient {
  return createKubeClient({
    credentials: cluster.kubeconfig === '' ? serviceAccountCredentials() : kubeconfigCredentials(cluster.kubeconfig),
    timeoutMs: timings.apiCallMs,
    userAgent: 'roomfence',
    onCall: ({ method, outcome }) => metrics.kubernetesCalls.inc({ method, outcome }),
  })
}

export const readBootId = ({ bootIdFile }: Configuration): Self['bootId'] => bootId(readFileSync(bootIdFile, 'utf8').trim())

function openKeys({ keys: { file, previousFile } }: Configuration, log: Log): KeyRing {
  return openKeyRing({ file, ...(previousFile === undefined ? {} : { previousFile }) }, (problem) => log.error(problem))
}

/** Waits until this node's room is known. */
export async function createSurroundings(
  given: Pick<Surroundings, 'configuration' | 'opened' | 'client' | 'log' | 'metrics'> & { readonly boot: Self['bootId'] },
): Promise<Surroundings> {
  const { configuration, opened, client, boot, log, metrics } = given
  const node = nodeId(configuration.node)
  const incarnation = opened.own
  const room = await learnOwnRoom(opened.durable, { client, node, roomLabel: configuration.cluster.roomLabel, log })
  const keyRing = openKeys(configuration, log)
  const network = await createNetwork({ configuration, node, incarnation, keys: keyRing, metrics })
  const witness =
    configuration.witness.kind === 'http' ? createHttpWitness({ ...configuration.witness, reader: { node, incarnation } }) : null
  const self = { node, room, incarnation, bootId: boot, addresses: advertised(configuration) }
  return { configuration, self, opened, client, keyRing, network, witness, stopping: new AbortController(), log, metrics }
}
