/** For the tests of failover: the embedded API server over two rooms of stand-ins, and a real client to it. */
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { type ApiServer, startApiServer } from '../../src/demo/apiserver/server.ts'
import { createTestbed, eventually, type Testbed } from './cluster-testbed.ts'
import { createKubeClient, type KubeClient } from '../../src/kubernetes/client.ts'
import { sleepUnless } from '../../src/kubernetes/watch.ts'
import { clusterId, epoch, nodeId, room } from '../../src/protocol/ids.ts'
import type { FailoverInput } from '../../src/failover/run/executing.ts'
import { type Failover, startFailover } from '../../src/failover/run/failover.ts'
import { startUnfence, type UnfenceInput } from '../../src/failover/unfence/unfence.ts'
import { defaultFailoverConfig } from './failover-examples.ts'
import type { FailoverClock } from '../../src/failover/run/clock.ts'
import type { FailoverEvent } from '../../src/failover/run/progress.ts'
import type { CommittedFence } from '../../src/failover/fence/committed-fence.ts'
import type { Proofs } from '../../src/failover/fence/proofs.ts'

export interface FailoverBed extends Testbed {
  readonly server: ApiServer
  readonly client: KubeClient
  readonly events: FailoverEvent[]
  start(input?: Partial<FailoverInput>): Failover
  close(): Promise<void>
}

export const testClock: FailoverClock = {
  nowMs: () => performance.now(),
  isoTime: () => new Date().toISOString(),
  sleep: sleepUnless,
}

export const allProved: Proofs = {
  node: () => ({ isProved: true, proof: { kind: 'killed' } }),
  workload: () => ({ isProved: true, proof: { kind: 'storage' } }),
}

export const roomB: CommittedFence = {
  id: 'fence-7',
  epoch: epoch(7),
  clusterId: clusterId('test'),
  nodes: [nodeId('b1'), nodeId('b2')],
  rooms: [room('room-b')],
  reason: 'room-b silent for 3 s',
  carriedOutBy: nodeId('a1'),
  dryRun: false,
}

export const testConfig = {
  ...defaultFailoverConfig,
  lookEveryMs: 500,
  touchAfterMs: 300,
  startSafetyNetMs: 1_000,
  volumeAttachmentDeadlineMs: 5_000,
}

export async function createFailoverBed(
  options: { readonly token?: { readonly name: string; readonly groups: readonly string[] } } = {},
): Promise<FailoverBed> {
  const bed = createTestbed()
  const token = 'test-token'
  const server = await startApiServer({
    store: bed.store,
    tokens: { [token]: options.token ?? { name: 'test', groups: ['system:masters'] } },
  })
  const definition = new URL('../../deploy/crds/fences.roomfence.io.yaml', import.meta.url)
  bed.store.create('namespaces', { metadata: { name: 'vms' } })
  bed.store.create('customresourcedefinitions', parse(readFileSync(definition, 'utf8')))
  const client = createKubeClient({
    credentials: {
      server: server.url,
      ca: Buffer.from(server.caPem),
      skipTlsVerify: false,
      authorization: async () => `Bearer ${token}`,
    },
  })
  const events: FailoverEvent[] = []
  const started: Failover[] = []
  return {
    ...bed,
    server,
    client,
    events,
    start: (input = {}) => {
      const failover = startFailover({
        order: roomB,
        client,
        proofs: allProved,
        dataGate: () => ({ open: true }),
        config: testConfig,
        clock: testClock,
        onProgress: (event) => events.push(event),
        ...input,
      })
      started.push(failover)
      return failover
    },
    close: async () => {
      for (const failover of started) failover.stop()
      await Promise.allSettled(started.map((failover) => failover.done))
      client.close()
      bed.cluster.stop()
      await server.close()
    },
  }
}

/** An operator's un-fence of room b that its agents have killed for and whose epoch is chosen. */
export const startUnfenceOfRoomB = ({ client }: Pick<FailoverBed, 'client'>, more: Partial<UnfenceInput> = {}) =>
  startUnfence({
    fencedIn: roomB.epoch,
    nodes: roomB.nodes,
    by: 'operator',
    isForced: false,
    client,
    clock: testClock,
    agentReport: () => ({ killedUnderEpoch: roomB.epoch, resources: [] }),
    chooseEpoch: async () => ({ chosen: true, epoch: epoch(8) }),
    freshnessMs: 5_000,
    backoff: defaultFailoverConfig,
    ...more,
  })

export { eventually }
