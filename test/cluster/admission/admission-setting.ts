/** A real control plane with deploy/'s policies, nodes, pods and the operators and programs that write on them. Nothing runs on the nodes. */
import { type ApiClient, apiClient } from '../../support/api-client.ts'
import { type ControlPlane, ensureNamespace, startControlPlane } from '../control-plane/start.ts'
import { allManifests, applyManifests } from '../../deploy/manifests.ts'
import { until } from '../../support/timing.ts'

export const roomLabel = 'topology.kubernetes.io/zone'
export const outOfService = { key: 'node.kubernetes.io/out-of-service', value: 'roomfence', effect: 'NoSchedule' }
export const fenced = { key: 'roomfence.io/fenced', value: '7', effect: 'NoSchedule' }
export const foreign = { key: 'example.com/drained', value: 'x', effect: 'NoSchedule' }
const known = ['system:authenticated']

/** Who writes. `agent a1` has the token that the kubelet of a1 would mount into the agent's pod. */
export type Writer = 'admin' | 'ada' | 'bob' | 'ci' | 'kubelet b1' | 'kubelet c1' | 'agent a1' | 'agent b1' | 'init'

export interface Setting {
  readonly controlPlane: ControlPlane
  readonly writers: Readonly<Record<Writer, ApiClient>>
  /** The token of the agent on a1. */
  readonly agentToken: string
  stop(): Promise<void>
}

const bind = async (client: ApiClient, name: string, role: string, kind: 'User' | 'Group', subject: string): Promise<void> => {
  await client.create('/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
    subjects: [{ kind, name: subject, apiGroup: 'rbac.authorization.k8s.io' }],
  })
}

const installRights = async (client: ApiClient): Promise<void> => {
  const roles = '/apis/rbac.authorization.k8s.io/v1/clusterroles'
  await client.create(roles, {
    metadata: { name: 'ci' },
    rules: [{ apiGroups: [''], resources: ['nodes', 'nodes/status'], verbs: ['get', 'create', 'update', 'patch'] }],
  })
  await client.create(roles, {
    metadata: { name: 'confirms' },
    rules: [{ apiGroups: ['roomfence.io'], resources: ['fences'], verbs: ['confirm'] }],
  })
  await bind(client, 'ci', 'ci', 'User', 'ci')
  await bind(client, 'ada', 'roomfence-operator', 'User', 'ada')
  await bind(client, 'bob', 'confirms', 'User', 'bob')
  await bind(client, 'bob-nodes', 'ci', 'User', 'bob')
  // In place of the node authorizer.
  await bind(client, 'kubelets', 'system:node', 'Group', 'system:nodes')
}

const node = (name: string, more: { readonly metadata?: object; readonly spec?: object } = {}): object => ({
  metadata: { name, ...(name === 'n1' ? {} : { labels: { [roomLabel]: `room-${name.slice(0, 1)}` } }), ...more.metadata },
  spec: more.spec ?? {},
})

const pod = (name: string, nodeName: string, more: object = {}): object => ({
  metadata: { name },
  spec: { nodeName, containers: [{ name: 'c', image: 'registry.example/c:1' }], ...more },
})

const makeObjects = async (client: ApiClient): Promise<void> => {
  for (const name of ['a1', 'a2', 'b1', 'n1']) await client.create('/api/v1/nodes', node(name))
  const annotations = {
    'roomfence.io/confirm-dead': 'fence-7,ada',
    'roomfence.io/unfenced-epoch': '3',
    'roomfence.io/agent': '{}',
    'example.com/owner': 'rack-4',
  }
  await client.create(
    '/api/v1/nodes',
    node('b2', { metadata: { labels: { [roomLabel]: 'room-b' }, annotations }, spec: { taints: [fenced, outOfService, foreign] } }),
  )
  for (const name of ['default', 'roomfence', 'kube-node-lease']) await ensureNamespace(client, name)
  for (const [name, nodeName] of [
    ['web-a', 'a1'],
    ['web-b', 'b1'],
  ] as const)
    await client.create('/api/v1/namespaces/default/pods', pod(name, nodeName))
  const leases = (namespace: string): string => `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`
  await client.create(leases('default'), { metadata: { name: 'leader' }, spec: { holderIdentity: 'web-b_1', leaseDurationSeconds: 15 } })
  await client.create(leases('kube-node-lease'), { metadata: { name: 'b1' }, spec: { holderIdentity: 'b1', leaseDurationSeconds: 40 } })
  const fences = '/apis/roomfence.io/v1/fences'
  const fence = await client.create(fences, {
    apiVersion: 'roomfence.io/v1',
    kind: 'Fence',
    metadata: { name: 'fence-7' },
    spec: { epoch: 7, clusterId: 'test', nodes: ['b1', 'b2'] },
  })
  await client.patch(`${fences}/${fence.metadata.name}/status`, { status: { phase: 'Acting', unfenced: [{ node: 'b1', epoch: 8 }] } })
}

/** As a kubelet asks for it: bound to a pod, and so to the pod's node. */
const agentTokenOn = async (client: ApiClient, nodeName: string): Promise<string> => {
  const home = '/api/v1/namespaces/roomfence'
  const made = await client.create(`${home}/pods`, pod(`agent-${nodeName}`, nodeName, { serviceAccountName: 'roomfence' }))
  const { name, uid } = made.metadata
  const answer = await client.create<{ readonly status: { readonly token: string } }>(`${home}/serviceaccounts/roomfence/token`, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid } },
  })
  return answer.status.token
}

/** KubeVirt's own objects: its controller is put to sleep, so that nothing but the test writes them. */
const makeVirtualMachines = async (controlPlane: ControlPlane): Promise<void> => {
  const { client } = controlPlane
  process.kill(controlPlane.program('virt-controller').pid, 'SIGSTOP')
  const spec = { domain: { memory: { guest: '64Mi' }, devices: {} } }
  const home = '/apis/kubevirt.io/v1/namespaces/default'
  for (const name of ['vmi-a', 'vmi-b'])
    await client.create(`${home}/virtualmachineinstances`, {
      apiVersion: 'kubevirt.io/v1',
      kind: 'VirtualMachineInstance',
      metadata: { name },
      spec,
    })
  await client.create(`${home}/virtualmachines`, {
    apiVersion: 'kubevirt.io/v1',
    kind: 'VirtualMachine',
    metadata: { name: 'vm' },
    spec: { runStrategy: 'Halted', template: { spec } },
  })
  // KubeVirt drops what others write of the status.
  const handler = client.as('system:serviceaccount:kubevirt:kubevirt-handler', ['system:masters'], {})
  for (const name of ['a', 'b']) await handler.patch(`${home}/virtualmachineinstances/vmi-${name}`, { status: { nodeName: `${name}1` } })
  await client.patch(`${home}/virtualmachines/vm/status`, {
    status: { printableStatus: 'CrashLoopBackOff', startFailure: { consecutiveFailCount: 3 } },
  })
}

export const openSetting = async (): Promise<Setting> => {
  const controlPlane = await startControlPlane({ kubevirt: true, flags: { apiServer: ['--enable-admission-plugins=NodeRestriction'] } })
  try {
    const { client, url, caPem, adminToken } = controlPlane
    // Workloads would wait for images that nobody pulls.
    const manifests = allManifests().filter(({ kind }) => !['DaemonSet', 'Deployment', 'Job'].includes(kind))
    const isPolicy = ({ kind }: { readonly kind: string }): boolean => kind.startsWith('ValidatingAdmissionPolicy')
    const apply = async (chosen: typeof manifests): Promise<void> => {
      for (const { manifest, reply } of await applyManifests({ url, caPem, token: adminToken }, chosen))
        if (reply.status !== 201) throw new Error(`${manifest.kind} ${manifest.metadata.name}: ${JSON.stringify(reply.body)}`)
    }
    await apply(manifests.filter((manifest) => !isPolicy(manifest)))
    await installRights(client)
    await until('fences are served', 30_000, async () => client.list('/apis/roomfence.io/v1/fences'))
    await makeObjects(client)
    await makeVirtualMachines(controlPlane)
    const agentToken = await agentTokenOn(client, 'a1')
    const agentB = apiClient({ url, caPem, token: await agentTokenOn(client, 'b1') })
    const agentA = apiClient({ url, caPem, token: agentToken })
    await apply(manifests.filter(isPolicy))
    return {
      controlPlane,
      agentToken,
      writers: {
        admin: client,
        ada: client.as('ada', known, {}),
        bob: client.as('bob', known, {}),
        ci: client.as('ci', known, {}),
        'kubelet b1': client.as('system:node:b1', ['system:nodes', ...known], {}),
        'kubelet c1': client.as('system:node:c1', ['system:nodes', ...known], {}),
        'agent a1': agentA,
        'agent b1': agentB,
        init: client.as('system:serviceaccount:roomfence:roomfence-init', ['system:serviceaccounts', ...known], {}),
      },
      stop: async () => {
        for (const agent of [agentA, agentB]) agent.close()
        process.kill(controlPlane.program('virt-controller').pid, 'SIGCONT')
        await controlPlane.stop()
      },
    }
  } catch (error) {
    await controlPlane.stop()
    throw error
  }
}
