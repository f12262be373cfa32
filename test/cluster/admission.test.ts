/** The admission policies of deploy/ on a real API server, case by case: who writes what, and which policy denies it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { immuneTolerations } from '../../src/failover/fence/taints.ts'
import type { ApiClient, ApiObject } from '../support/api-client.ts'
import type { Pod } from './api/objects.ts'
import { fenced, foreign, openSetting, outOfService, roomLabel, type Setting, type Writer } from './admission/admission-setting.ts'
import { legitimateWrites } from './admission/product.ts'
import { isClusterSkipped } from './presence.ts'
import { until } from '../support/timing.ts'

/** Denied by this policy; undefined: allowed. */
type Verdict =
  | 'nodes'
  | 'agent-nodes'
  | 'agent-pods'
  | 'agent-deletes'
  | 'agent-leases'
  | 'agent-instances'
  | 'agent-fences'
  | 'init'
  | undefined
type Case = readonly [Writer, string, Verdict, (api: ApiClient) => Promise<unknown>]

const allowed = undefined
/** Admission is asked, and nothing is kept: no case depends on another. */
const dry = '?dryRun=All'
const nodePath = (name: string): string => `/api/v1/nodes/${name}${dry}`
const podPath = (name: string): string => `/api/v1/namespaces/default/pods/${name}`
const leasePath = (namespace: string, name: string): string => `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${name}${dry}`
const fencesPath = '/apis/roomfence.io/v1/fences'
const kubevirtPath = '/apis/kubevirt.io/v1/namespaces/default'

const annotate =
  (name: string, annotations: Readonly<Record<string, string | null>>, subresource = '') =>
  async (api: ApiClient) =>
    api.patch(`/api/v1/nodes/${name}${subresource}${dry}`, { metadata: { annotations } })
const ours = (name: string, key: string, value: string | null) => annotate(name, { [`roomfence.io/${key}`]: value })
const label = (name: string, key: string, value: string | null) => async (api: ApiClient) =>
  api.patch(nodePath(name), { metadata: { labels: { [key]: value } } })
const spec = (name: string, change: object) => async (api: ApiClient) => api.patch(nodePath(name), { spec: change })
const register = (name: string, annotations: object) => async (api: ApiClient) =>
  api.create(`/api/v1/nodes${dry}`, { metadata: { name, labels: { [roomLabel]: 'room-a' }, annotations } })
const changePod =
  (name: string, change: object, subresource = '') =>
  async (api: ApiClient) =>
    api.patch(`${podPath(name)}${subresource}${dry}`, change, 'strategic-merge-patch')
const tolerate =
  (name: string, change: (tolerations: Parameters<typeof immuneTolerations>[0]) => unknown) => async (api: ApiClient, admin: ApiClient) => {
    const { spec: now } = await admin.get<Pod & { readonly spec: { readonly tolerations: Parameters<typeof immuneTolerations>[0] } }>(
      podPath(name),
    )
    return api.patch(`${podPath(name)}${dry}`, { spec: { tolerations: change(now.tolerations) } })
  }
const lease = (namespace: string, name: string, change: object) => async (api: ApiClient) =>
  api.patch(leasePath(namespace, name), { spec: change })
const makeFence = (name: string, epoch: number) => async (api: ApiClient) =>
  api.create(`${fencesPath}${dry}`, {
    apiVersion: 'roomfence.io/v1',
    kind: 'Fence',
    metadata: { name },
    spec: { epoch, clusterId: 'test', nodes: ['b1'] },
  })
const unfenced = (entries: readonly object[]) => async (api: ApiClient) =>
  api.patch(`${fencesPath}/fence-7/status${dry}`, { status: { unfenced: entries } })
const instance = (change: object) => async (api: ApiClient) => api.patch(`${kubevirtPath}/virtualmachineinstances/vmi-b${dry}`, change)
const machineStatus = (change: object) => async (api: ApiClient) =>
  api.patch(`${kubevirtPath}/virtualmachines/vm/status${dry}`, { status: change })
const remove = (path: string) => async (api: ApiClient) => api.remove(`${path}${dry}`)
const genesis = (name: string) => async (api: ApiClient) =>
  api.create(`/api/v1/namespaces/roomfence/configmaps${dry}`, { metadata: { name } })

const failed = { status: { phase: 'Failed', reason: 'NodeFenced', message: 'its node was fenced' } }

const byOthers: readonly Case[] = [
  ['kubelet b1', 'confirms its own death', 'nodes', ours('b1', 'confirm-dead', 'fence-7,ada')],
  ['kubelet b1', 'confirms it through the status', 'nodes', annotate('b1', { 'roomfence.io/confirm-dead': 'fence-7,ada' }, '/status')],
  ['kubelet b1', 'requests its own un-fence', 'nodes', ours('b1', 'unfence', 'true,force')],
  ['kubelet b1', 'was un-fenced in the future', 'nodes', ours('b1', 'unfenced-epoch', '999')],
  ['kubelet b1', 'writes for its agent', 'nodes', ours('b1', 'agent', '{"incarnation":"x"}')],
  ['kubelet b1', 'writes an annotation that there is not', 'nodes', ours('b1', 'anything', 'x')],
  ['kubelet b1', 'moves to the other room', 'nodes', label('b1', roomLabel, 'room-a')],
  ['kubelet b1', 'leaves its room', 'nodes', label('b1', roomLabel, null)],
  ['kubelet b1', 'annotates its node', allowed, annotate('b1', { 'csi.volume.kubernetes.io/nodeid': '{}' })],
  [
    'kubelet b1',
    'tells of its volumes',
    allowed,
    async (api) => api.patch(`/api/v1/nodes/b1/status${dry}`, { status: { volumesInUse: ['x'] } }),
  ],
  ['kubelet c1', 'registers with its room', allowed, register('c1', {})],
  ['kubelet c1', 'registers with an annotation of ours', 'nodes', register('c1', { 'roomfence.io/unfenced-epoch': '999' })],
  ['ci', 'confirms a death', 'nodes', ours('b1', 'confirm-dead', 'fence-7,ci')],
  ['ci', 'requests an un-fence', 'nodes', ours('b1', 'unfence', 'true')],
  ['ci', 'takes a confirmation away', 'nodes', ours('b2', 'confirm-dead', null)],
  ['ci', 'takes the record of an un-fence away', 'nodes', ours('b2', 'unfenced-epoch', null)],
  ['ci', 'takes the taint of a fence away', 'nodes', spec('b2', { taints: [outOfService, foreign] })],
  ['ci', 'takes our out-of-service away', 'nodes', spec('b2', { taints: [fenced, foreign] })],
  ['ci', 'puts out of service in our name', 'nodes', spec('b1', { taints: [outOfService] })],
  ['ci', 'puts out of service in its own name', allowed, spec('b1', { taints: [{ ...outOfService, value: 'ci' }] })],
  ['ci', 'changes a taint of others', allowed, spec('b2', { taints: [fenced, outOfService] })],
  ['ci', 'annotates a node', allowed, annotate('b2', { 'example.com/owner': null, 'example.com/rack': '5' })],
  ['ci', 'cordons a node', allowed, spec('b1', { unschedulable: true })],
  ['ci', 'moves a node to another room', 'nodes', label('b1', roomLabel, 'room-a')],
  ['ci', 'gives a node its first room', allowed, label('n1', roomLabel, 'room-b')],
  ['ci', 'labels a node', allowed, label('b1', 'example.com/rack', '5')],
  ['ada', 'confirms the death of a fence', allowed, ours('b1', 'confirm-dead', 'fence-7,ada')],
  ['ada', 'confirms a death where no fence is', allowed, ours('b1', 'confirm-dead', 'epoch-12,ada')],
  ['ada', 'confirms fences to come', 'nodes', ours('b1', 'confirm-dead', 'fence-7,fence-8,ada')],
  ['ada', 'confirms two fences', 'nodes', ours('b1', 'confirm-dead', 'fence-7,fence-8')],
  ['ada', 'confirms without a name', 'nodes', ours('b1', 'confirm-dead', 'fence-7')],
  ['ada', 'confirms without a fence', 'nodes', ours('b1', 'confirm-dead', 'true,ada')],
  ['ada', 'requests an un-fence by force', allowed, ours('b1', 'unfence', 'true,force,ada')],
  [
    'ada',
    'takes away what is left over',
    allowed,
    annotate('b2', { 'roomfence.io/unfenced-epoch': null, 'roomfence.io/agent': null, 'roomfence.io/confirm-dead': null }),
  ],
  ['ada', 'takes our taints away', allowed, spec('b2', { taints: [foreign] })],
  ['ada', 'moves a node to another room', allowed, label('b1', roomLabel, 'room-a')],
  ['ada', 'writes what agents write', 'nodes', ours('b1', 'unfenced-epoch', '999')],
  ['ada', 'answers an un-fence', 'nodes', ours('b1', 'unfence-answer', 'rejected')],
  ['bob', 'confirms a death, which is all he may', allowed, ours('b1', 'confirm-dead', 'fence-7,bob')],
  ['bob', 'requests an un-fence', 'nodes', ours('b1', 'unfence', 'true,bob')],
  ['bob', 'moves a node to another room', 'nodes', label('b1', roomLabel, 'room-a')],
  ['admin', 'writes what agents write', 'nodes', ours('b1', 'agent', '{}')],
  ['admin', 'confirms a death', allowed, ours('b1', 'confirm-dead', 'fence-7,admin')],
]

const onNodes: readonly Case[] = [
  ['agent a1', 'writes its own addresses', allowed, ours('a1', 'agent', '{}')],
  ['agent a1', 'writes those of another agent', 'agent-nodes', ours('b1', 'agent', '{}')],
  ['agent a1', 'passes a confirmation on', allowed, ours('b1', 'confirm-dead', 'fence-7,ada')],
  ['agent a1', 'confirms fences to come', 'agent-nodes', ours('b1', 'confirm-dead', 'fence-7,fence-8,ada')],
  ['agent b1', 'confirms the death of its own node', 'agent-nodes', ours('b1', 'confirm-dead', 'fence-7,ada')],
  ['agent a1', 'passes an un-fence on', allowed, ours('b1', 'unfence', 'true,ada')],
  ['agent b1', 'passes the un-fence of its own node on', allowed, ours('b1', 'unfence', 'true,ada')],
  [
    'agent a1',
    'records an un-fence',
    allowed,
    annotate('b2', { 'roomfence.io/unfenced-epoch': '8', 'roomfence.io/unfenced': 'by ada', 'roomfence.io/confirm-dead': null }),
  ],
  ['agent a1', 'takes the taints of a fence away', allowed, spec('b2', { taints: [foreign] })],
  ['agent a1', 'puts the taints of a fence', allowed, spec('b1', { taints: [fenced, outOfService] })],
  ['agent a1', 'puts a taint of others', 'agent-nodes', spec('b1', { taints: [foreign] })],
  ['agent a1', 'takes a taint of others away', 'agent-nodes', spec('b2', { taints: [fenced, outOfService] })],
  ['agent a1', 'puts out of service in another name', 'agent-nodes', spec('b1', { taints: [{ ...outOfService, value: 'x' }] })],
  ['agent a1', 'annotates a node', 'agent-nodes', annotate('b1', { 'example.com/owner': 'x' })],
  ['agent a1', 'takes an annotation of others away', 'agent-nodes', annotate('b2', { 'example.com/owner': null })],
  ['agent a1', 'moves a node to another room', 'agent-nodes', label('b1', roomLabel, 'room-a')],
  ['agent a1', 'labels a node', 'agent-nodes', label('b1', 'example.com/rack', 'x')],
  ['agent a1', 'has Medik8s leave a node alone', allowed, label('b1', 'remediation.medik8s.io/exclude-from-remediation', 'true')],
  ['agent a1', 'cordons a node', 'agent-nodes', spec('b1', { unschedulable: true })],
  [
    'agent a1',
    'adds a finalizer',
    'agent-nodes',
    async (api) => api.patch(nodePath('b1'), { metadata: { finalizers: ['example.com/x'] } }),
  ],
]

const onPods: readonly Case[] = [
  [
    'agent a1',
    'changes an image',
    'agent-pods',
    changePod('web-b', { spec: { containers: [{ name: 'c', image: 'registry.example/c:2' }] } }),
  ],
  ['agent a1', 'labels a pod', 'agent-pods', changePod('web-b', { metadata: { labels: { app: 'x' } } })],
  ['agent a1', 'annotates a pod', 'agent-pods', changePod('web-b', { metadata: { annotations: { a: 'x' } } })],
  ['agent a1', 'adds a finalizer to a pod', 'agent-pods', changePod('web-b', { metadata: { finalizers: ['example.com/x'] } })],
  ['agent a1', 'gives a pod a deadline', 'agent-pods', changePod('web-b', { spec: { activeDeadlineSeconds: 1 } })],
  ['agent a1', 'marks a pod of a fenced node as failed', allowed, changePod('web-b', failed, '/status')],
  ['agent a1', 'marks a pod of its own node as failed', 'agent-pods', changePod('web-a', failed, '/status')],
  ['agent a1', 'gives a pod another address', 'agent-pods', changePod('web-b', { status: { podIP: '192.0.2.9' } }, '/status')],
  [
    'agent a1',
    'gives a pod another address as it fails it',
    'agent-pods',
    changePod('web-b', { status: { ...failed.status, podIP: '192.0.2.9', podIPs: [{ ip: '192.0.2.9' }] } }, '/status'),
  ],
  [
    'agent a1',
    'labels a pod through its status',
    'agent-pods',
    changePod('web-b', { metadata: { labels: { app: 'x' } }, ...failed }, '/status'),
  ],
  ['agent a1', 'deletes a pod of its own node', 'agent-deletes', remove(podPath('web-a'))],
  ['agent a1', 'deletes a pod by its name alone', 'agent-deletes', remove(podPath('web-b'))],
  ['admin', 'deletes a pod by its name alone', allowed, remove(podPath('web-b'))],
]

const onOthers: readonly Case[] = [
  ['agent a1', 'releases a leader election', allowed, lease('default', 'leader', { holderIdentity: '' })],
  ['agent a1', 'takes a leader election', 'agent-leases', lease('default', 'leader', { holderIdentity: 'a1' })],
  [
    'agent a1',
    'changes how long a Lease holds',
    'agent-leases',
    lease('default', 'leader', { holderIdentity: '', leaseDurationSeconds: 1 }),
  ],
  ['agent a1', 'releases the Lease of a node', 'agent-leases', lease('kube-node-lease', 'b1', { holderIdentity: '' })],
  ['agent a1', 'records a fence', allowed, makeFence('fence-8', 8)],
  ['agent a1', 'records a fence under another name', 'agent-fences', makeFence('fence-9', 8)],
  [
    'agent a1',
    'lets another node back',
    allowed,
    unfenced([
      { node: 'b1', epoch: 8 },
      { node: 'b2', epoch: 9 },
    ]),
  ],
  ['agent a1', 'forgets whom it let back', 'agent-fences', unfenced([])],
  ['agent a1', 'touches an instance', allowed, instance({ metadata: { annotations: { 'roomfence.io/touched': 'now 1' } } })],
  ['agent a1', 'annotates an instance', 'agent-instances', instance({ metadata: { annotations: { 'example.com/x': 'y' } } })],
  ['agent a1', 'labels an instance', 'agent-instances', instance({ metadata: { labels: { app: 'x' } } })],
  ['agent a1', 'changes an instance', 'agent-instances', instance({ spec: { evictionStrategy: 'LiveMigrate' } })],
  ['agent a1', 'deletes an instance of its own node', 'agent-deletes', remove(`${kubevirtPath}/virtualmachineinstances/vmi-a`)],
  ['agent a1', 'ends the back-off of a VM', allowed, machineStatus({ startFailure: null })],
  ['agent a1', 'changes the status of a VM', 'agent-instances', machineStatus({ printableStatus: 'Running', startFailure: null })],
  ['init', 'makes genesis', allowed, genesis('roomfence-genesis')],
  ['init', 'makes another ConfigMap', 'init', genesis('roomfence')],
]

describe.skipIf(isClusterSkipped())('admission', () => {
  let setting: Setting
  const policyOf = (verdict: Verdict): string => `ValidatingAdmissionPolicy 'roomfence-${verdict}' `
  /** How the API server refuses it: undefined when it takes it. */
  const answerTo = async (writer: Writer, act: Case[3]): Promise<string | undefined> => {
    const { writers } = setting
    return act(writers[writer]).then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    )
  }
  const all = [...byOthers, ...onNodes, ...onPods, ...onOthers]

  beforeAll(async () => {
    setting = await openSetting()
    // The API server learns of a policy a little later than it takes it.
    for (const verdict of new Set(all.map(([, , one]) => one))) {
      const first = all.find(([, , one]) => one !== undefined && one === verdict)
      if (first !== undefined)
        await until(`policy ${verdict} is in force`, 60_000, async () => (await answerTo(first[0], first[3]))?.includes(policyOf(verdict)))
    }
  })
  afterAll(async () => setting?.stop())

  const play = async ([writer, , verdict, act]: Case): Promise<void> => {
    const answer = await answerTo(writer, act)
    if (verdict === undefined) return expect(answer).toBeUndefined()
    expect(answer).toContain(' 403 ')
    expect(answer).toContain(policyOf(verdict))
  }
  const named = (cases: readonly Case[]) => cases.map((one) => [`${one[0]} ${one[1]}: ${one[2] ?? 'allowed'}`, one] as const)

  test.each(named(byOthers))('nodes, by others than agents: %s', async (_name, one) => play(one))
  test.each(named(onNodes))('nodes, by agents: %s', async (_name, one) => play(one))
  test.each(named(onPods))('pods: %s', async (_name, one) => play(one))
  test.each(named(onOthers))('others: %s', async (_name, one) => play(one))

  test('tolerations: those of a node’s death alone, and on other nodes', async () => {
    const admin = setting.writers.admin
    const as = (name: string, change: Parameters<typeof tolerate>[1]) =>
      answerTo('agent a1', async (api) => tolerate(name, change)(api, admin))
    expect(await as('web-b', (now) => immuneTolerations(now))).toBeUndefined()
    expect(await as('web-a', (now) => immuneTolerations(now))).toContain(policyOf('agent-pods'))
    expect(await as('web-b', (now) => [...now, { operator: 'Exists' }])).toContain(policyOf('agent-pods'))
    expect(await as('web-b', (now) => [...now, { key: 'example.com/x', operator: 'Exists', effect: 'NoExecute' }])).toContain(
      policyOf('agent-pods'),
    )
  })

  test('deletes: by uid, and not of its own node', async () => {
    const { admin } = setting.writers
    for (const [path, text] of [
      [podPath('web-a'), 'nothing of its own node'],
      [`${kubevirtPath}/virtualmachineinstances/vmi-a`, 'nothing of its own node'],
    ] as const) {
      const { metadata } = await admin.get(path)
      expect(await answerTo('agent a1', async (api) => api.remove(path, { preconditions: { uid: metadata.uid } }))).toContain(text)
    }
    expect(await answerTo('agent a1', remove(podPath('web-b')))).toContain('by uid alone')
  })

  test('what the agent’s own code writes is allowed, step by step', async () => {
    expect(await legitimateWrites(setting)).toEqual([])
  })

  test('a refusal says what to do', async () => {
    const [, , , confirm] = byOthers.find(([who, what]) => who === 'ci' && what === 'confirms a death') as Case
    expect(await answerTo('ci', confirm)).toContain('needs the verb confirm on fences.roomfence.io (ClusterRole roomfence-operator)')
  })

  test('every expression has the right types', async () => {
    interface Policy extends ApiObject {
      readonly status?: {
        readonly observedGeneration?: number
        readonly typeChecking?: { readonly expressionWarnings?: readonly object[] }
      }
    }
    const policies = await until('the controller manager has looked at each', 60_000, async () => {
      const found = await setting.writers.admin.list<Policy>('/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies')
      return found.every(({ status }) => status?.observedGeneration !== undefined) ? found : undefined
    })
    const ours = policies.filter(({ metadata }) => metadata.name.startsWith('roomfence'))
    expect(ours).toHaveLength(8)
    expect(
      ours.flatMap(({ metadata, status }) => (status?.typeChecking?.expressionWarnings ?? []).map((one) => [metadata.name, one])),
    ).toEqual([])
  })
})
