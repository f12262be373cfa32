/**
 * A real kube-apiserver, etcd, controller manager, scheduler, virt-controller and virt-api with fake nodes: one for all stages.
 *
 * So that a stage can outlast Kubernetes' own eviction, a silent node is NotReady after 20 s instead of 50, and pods are evicted 20 s later
 * instead of 300.
 */
import { defaultFailoverConfig } from '../support/failover-examples.ts'
import { isApiError } from '../support/api-client.ts'
import { type ControlPlane, ensureNamespace, startControlPlane } from '../cluster/control-plane/start.ts'
import { type FakeNodes, startFakeNodes } from '../cluster/nodes/fake-nodes.ts'
import { markedProcesses } from '../cluster/processes.ts'
import { stretched } from '../support/timing.ts'
import { type ClusterKind, deadRoom, livingRoom, type World } from './world.ts'

/** Without the second KubeVirt knows no VM that waits for a migration from another cluster. */
const featureGates = ['HotplugVolumes', 'DecentralizedLiveMigration']
const notReadyAfterMs = 20_000
const toleratedForMs = 20_000
/** A zone without a ready node: its nodes are tainted 10 s apart. And 5 s are the controller manager's own round. */
const secondNodeMs = 15_000

const seconds = (ms: number): string => String(Math.round(stretched(ms) / 1_000))

export async function openRealWorld(cluster?: ClusterKind): Promise<World> {
  const hasKubeVirt = cluster !== 'without-kubevirt'
  const controlPlane = await startControlPlane({
    kubevirt: hasKubeVirt && { configuration: { developerConfiguration: { featureGates } } },
    flags: {
      apiServer: ['not-ready', 'unreachable'].map((key) => `--default-${key}-toleration-seconds=${seconds(toleratedForMs)}`),
      controllerManager: [`--node-monitor-grace-period=${seconds(notReadyAfterMs)}s`],
    },
  })
  try {
    const fakeNodes = await startFakeNodes(controlPlane, {
      rooms: { [livingRoom]: 2, [deadRoom]: 2 },
      hasKubeVirt,
      timings: {
        leaseMs: 3_000,
        statusMs: 2_000,
        podStartMs: 200,
        podStopMs: 200,
        attachMs: 100,
        detachMs: 100,
        vmBootMs: 300,
        vmShutdownMs: 300,
      },
    })
    return await worldOf(controlPlane, fakeNodes, cluster)
  } catch (error) {
    await controlPlane.stop()
    throw error
  }
}

async function worldOf(controlPlane: ControlPlane, fakeNodes: FakeNodes, cluster: ClusterKind | undefined): Promise<World> {
  const { client, url, caPem, adminToken } = controlPlane
  await ensureNamespace(client, 'roomfence')
  return {
    name: 'real',
    cluster,
    access: { url, caPem, token: adminToken },
    nodes: fakeNodes.nodes.map(({ name, room }) => ({ name, room })),
    config: {
      ...defaultFailoverConfig,
      lookEveryMs: 1_000,
      touchAfterMs: 3_000,
      startSafetyNetMs: 8_000,
      volumeAttachmentDeadlineMs: stretched(15_000),
      vmDeadlineMs: stretched(180_000),
    },
    lookEveryMs: 100,
    evictedAfterMs: stretched(notReadyAfterMs + secondNodeMs + toleratedForMs),
    tokenOf: async (name) => {
      await client.create('/api/v1/namespaces/roomfence/serviceaccounts', { metadata: { name } }).catch((error: unknown) => {
        if (!isApiError(error, 409)) throw error
      })
      return controlPlane.tokenFor('roomfence', name)
    },
    power: async (nodes, to) => (to === 'on' ? fakeNodes.powerOn({ nodes }) : fakeNodes.powerOff({ nodes })),
    bootId: (node) => fakeNodes.nodes.find(({ name }) => name === node)?.bootId ?? '',
    real: { controlPlane, fakeNodes },
    close: async () => {
      await fakeNodes.stop()
      await controlPlane.stop()
      const left = markedProcesses(controlPlane.keeper.directory)
      if (left.length > 0) throw new Error(`still running: ${JSON.stringify(left)}`)
    },
  }
}
