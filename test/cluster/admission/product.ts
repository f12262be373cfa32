/** What the agent writes, by its own code, with the token of the agent on a1. */
import { createKubeClient, type KubeClient } from '../../../src/kubernetes/client.ts'
import { type PodView, podView, paths } from '../../../src/kubernetes/resources.ts'
import { sleepUnless } from '../../../src/kubernetes/watch.ts'
import { publishIdentity } from '../../../src/agent/state/membership-source.ts'
import { writeUnfenceRequest } from '../../../src/agent/unfence/node-request.ts'
import { createExecutor } from '../../../src/failover/run/execute.ts'
import { defaultFailoverConfig, exampleRecord } from '../../support/failover-examples.ts'
import { ensureFence, writeFenceStatus } from '../../../src/failover/fence/fence-object.ts'
import type { CommittedFence } from '../../../src/failover/fence/committed-fence.ts'
import type { FailoverClock } from '../../../src/failover/run/clock.ts'
import { finishUnfence } from '../../../src/failover/unfence/unfence.ts'
import type { Step } from '../../../src/failover/plan/steps.ts'
import { fencedTaint, immuneTolerations, outOfServiceTaint } from '../../../src/failover/fence/taints.ts'
import { clusterId, epoch, incarnation, nodeId, room } from '../../../src/protocol/ids.ts'
import type { ApiObject } from '../../support/api-client.ts'
import { fenced, outOfService, type Setting } from './admission-setting.ts'

const clock: FailoverClock = { nowMs: () => performance.now(), isoTime: () => new Date().toISOString(), sleep: sleepUnless }
const order: CommittedFence = {
  id: 'fence-12',
  epoch: epoch(12),
  clusterId: clusterId('test'),
  nodes: [nodeId('b1')],
  rooms: [room('room-b')],
  reason: 'room-b silent for 3 s',
  carriedOutBy: nodeId('a1'),
  dryRun: false,
}
const instancesPath = '/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances'

/** The steps of a fence of b1, one after the other. */
async function steps(setting: Setting): Promise<readonly Step[]> {
  const { admin } = setting.writers
  const podOnB1 = async (name: string): Promise<PodView> =>
    podView(
      await admin.create('/api/v1/namespaces/default/pods', {
        metadata: { name },
        spec: { nodeName: 'b1', containers: [{ name: 'c', image: 'registry.example/c:1' }] },
      }),
    )
  const [held, job, lost] = [await podOnB1('held'), await podOnB1('job'), await podOnB1('lost')]
  const { metadata } = await admin.get(`${instancesPath}/vmi-b`)
  const workload = { ...exampleRecord('vmi-b', { namespace: 'default' }), uid: metadata.uid }
  const machine = exampleRecord('vm', { namespace: 'default' })
  return [
    { kind: 'taint', key: 'fenced', why: '', node: 'b1', taint: fencedTaint(12) },
    { kind: 'tolerate', key: 'tolerate', why: '', pod: held, tolerations: immuneTolerations(held.tolerations) ?? [] },
    { kind: 'taint', key: 'out of service', why: '', node: 'b1', taint: outOfServiceTaint },
    {
      kind: 'release-lease',
      key: 'lease',
      why: '',
      lease: { namespace: 'default', name: 'leader', holder: 'web-b_1', node: 'b1', released: false },
    },
    { kind: 'fail-pod', key: 'fail', why: '', pod: job },
    { kind: 'delete-pod', key: 'delete', why: '', pod: lost, proof: 'timed', vm: undefined },
    { kind: 'vm', key: 'touch', why: '', workload, action: { kind: 'touch-vmi', count: 0 } },
    { kind: 'vm', key: 'back-off', why: '', workload: machine, action: { kind: 'skip-backoff' } },
    { kind: 'vm', key: 'once', why: '', workload, action: { kind: 'delete-vmi', uid: metadata.uid } },
  ]
}

/** @returns what was refused, or did not come to pass */
export async function legitimateWrites(setting: Setting): Promise<readonly string[]> {
  const { controlPlane, agentToken, writers } = setting
  const client: KubeClient = createKubeClient({
    credentials: {
      server: controlPlane.url,
      ca: Buffer.from(controlPlane.caPem),
      skipTlsVerify: false,
      authorization: async () => `Bearer ${agentToken}`,
    },
  })
  const signal = new AbortController().signal
  const refused: string[] = []
  const attempt = async (what: string, write: () => Promise<unknown>): Promise<void> => {
    try {
      await write()
    } catch (error) {
      refused.push(`${what}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  try {
    await attempt('its addresses', async () => publishIdentity(client, nodeId('a1'), { incarnation: incarnation('i1'), addresses: [] }))
    await attempt('a Fence and its status', async () => {
      const { fence } = await ensureFence(client, order)
      await writeFenceStatus(client, fence, { ...fence.status, phase: 'Acting', carriedOutBy: 'a1' })
    })
    const done: string[] = []
    const carrier = createExecutor({
      client,
      config: defaultFailoverConfig,
      clock,
      epoch: 12,
      dryRun: false,
      signal,
      onDone: ({ key }, outcome) => done.push(`${key} ${outcome}`),
      onFailed: ({ key }, error) => refused.push(`${key}: ${error.message}`),
    })
    const wanted = await steps(setting)
    for (const step of wanted) await carrier.run([{ name: step.key, barrier: false, steps: [step] }])
    refused.push(...wanted.map(({ key }) => `${key} done`).filter((line) => !done.includes(line)))
    const log = { warn: (fields: { readonly error?: Error }, text: string) => refused.push(`${text}: ${String(fields.error?.message)}`) }
    await writeUnfenceRequest(nodeId('b1'), 'true,ada', { client, signal, log: log as never })
    // Of another node, and of its own after the API server was set back.
    await writers.admin.patch(paths.node('a1'), { spec: { taints: [fenced, outOfService] } })
    for (const node of ['b1', 'b2', 'a1'].map(nodeId)) {
      await finishUnfence({
        fencedIn: epoch(node === 'b2' ? 7 : 12),
        nodes: [node],
        by: 'ada',
        client,
        clock,
        epoch: epoch(13),
        overridden: [],
        signal: AbortSignal.timeout(20_000),
        onProgress: (event) => {
          if (event.kind === 'api-unavailable') refused.push(`un-fence of ${node}: ${event.reason}`)
        },
      })
      const { metadata, spec } = await writers.admin.get<
        ApiObject & { readonly spec: { readonly taints?: readonly { readonly key: string }[] } }
      >(paths.node(node))
      if (metadata.annotations?.['roomfence.io/unfenced-epoch'] !== '13') refused.push(`the record of the un-fence of ${node}`)
      if (spec.taints?.some(({ key }) => key === fenced.key)) refused.push(`the taint of ${node}`)
    }
  } finally {
    client.close()
  }
  return refused
}
