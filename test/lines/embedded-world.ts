/** The embedded API server with its stand-ins of scheduler, controllers, kubelets and KubeVirt, at a hundredth of the real times: one for each stage. */
import { startApiServer } from '../../src/demo/apiserver/server.ts'
import { createTestbed } from '../support/cluster-testbed.ts'
import { defaultFailoverConfig } from '../support/failover-examples.ts'
import type { ClusterKind, World } from './world.ts'

const adminToken = 'lines-admin'
/** ServiceAccounts that a stage may use: the embedded API server takes its tokens when it starts. */
const serviceAccounts = ['roomfence', 'few-rights', 'other'] as const

const kubevirtPlurals = [
  'virtualmachines',
  'virtualmachineinstances',
  'virtualmachineinstancemigrations',
  'virtualmachineinstancereplicasets',
  'virtualmachinepools',
] as const

export async function openEmbeddedWorld(cluster?: ClusterKind): Promise<World> {
  const testbed = createTestbed()
  if (cluster === 'without-kubevirt') {
    testbed.cluster.stopController('virt-controller')
    for (const plural of kubevirtPlurals) testbed.store.dropResource(plural)
  }
  const server = await startApiServer({
    store: testbed.store,
    tokens: {
      [adminToken]: { name: 'lines', groups: ['system:masters'] },
      ...Object.fromEntries(
        serviceAccounts.map((name) => [`token-${name}`, { name: `system:serviceaccount:roomfence:${name}`, groups: [] }]),
      ),
    },
  })
  return {
    name: 'embedded',
    cluster,
    access: { url: server.url, caPem: server.caPem, token: adminToken },
    nodes: [...testbed.hosts.values()].map(({ name, room }) => ({ name, room })),
    config: {
      ...defaultFailoverConfig,
      lookEveryMs: 500,
      touchAfterMs: 300,
      startSafetyNetMs: 1_000,
      volumeAttachmentDeadlineMs: 2_000,
      vmDeadlineMs: 20_000,
    },
    lookEveryMs: 20,
    evictedAfterMs: 4_500,
    tokenOf: async (name) => {
      if (!serviceAccounts.some((known) => known === name))
        throw new Error(`ServiceAccount ${name}: allowed are ${serviceAccounts.join(', ')}`)
      return `token-${name}`
    },
    power: async (nodes, to) => {
      for (const name of nodes) testbed.host(name).setPower(to === 'on')
      for (const name of nodes) testbed.cluster.hostChanged(name)
    },
    bootId: (node) => testbed.host(node).bootId,
    embedded: { testbed, server },
    close: async () => {
      testbed.cluster.stop()
      await server.close()
    },
  }
}
