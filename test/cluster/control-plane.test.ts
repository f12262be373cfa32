/** The lab itself: a real control plane comes up, its fake nodes live and die, and nothing is left behind. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startAgents } from './agents.ts'
import { apiClient } from '../support/api-client.ts'
import {
  attachmentsPath,
  type Node,
  nodesPath,
  type Pod,
  podsPath,
  type VirtualMachineInstance,
  vmisPath,
  vmVerbPath,
  type VolumeAttachment,
} from './api/objects.ts'
import { type ControlPlane, ensureNamespace, startControlPlane } from './control-plane/start.ts'
import { type FakeNodes, startFakeNodes } from './nodes/fake-nodes.ts'
import { createVm } from './objects/virtual-machines.ts'
import { createDaemonSet, createDeployment, createStatefulSet } from './objects/workloads.ts'
import { isClusterSkipped } from './presence.ts'
import { groupStates, markedProcesses } from './processes.ts'
import { until } from '../support/timing.ts'

const namespace = 'vms'

describe.skipIf(isClusterSkipped())('a real control plane with real KubeVirt controllers and fake nodes', () => {
  let controlPlane: ControlPlane
  let nodes: FakeNodes

  beforeAll(async () => {
    controlPlane = await startControlPlane({ kubevirt: true })
    nodes = await startFakeNodes(controlPlane, { rooms: { 'room-a': 2, 'room-b': 2 }, hasKubeVirt: true })
    await ensureNamespace(controlPlane.client, namespace)
  })

  afterAll(async () => {
    await nodes?.stop()
    await controlPlane?.stop()
    if (controlPlane !== undefined) expect(markedProcesses(controlPlane.keeper.directory)).toEqual([])
  })

  const vmiOf = async (name: string): Promise<VirtualMachineInstance> => controlPlane.client.get(vmisPath(namespace, name))
  const runningIn = async (name: string, room: string): Promise<VirtualMachineInstance> =>
    until(`VM ${name} is Running in ${room}`, 60_000, async () => {
      const vmi = await vmiOf(name)
      return vmi.status.phase === 'Running' && vmi.status.nodeName?.startsWith(`${room}-`) ? vmi : undefined
    })

  /** Running pods of an owner, by its name, on nodes whose names begin so. */
  const running = async (owner: string, nodePrefix: string): Promise<readonly Pod[]> =>
    (await controlPlane.client.list<Pod>(`${podsPath(namespace)}?labelSelector=app%3D${owner}`)).filter(
      ({ metadata, spec, status }) =>
        status.phase === 'Running' && metadata.deletionTimestamp === undefined && spec.nodeName?.startsWith(nodePrefix),
    )

  it('is Kubernetes 1.36.2 with the fake nodes Ready in their rooms', async () => {
    expect(await controlPlane.client.get('/version')).toMatchObject({ gitVersion: 'v1.36.2' })
    const apiNodes = await controlPlane.client.list<Node>(nodesPath())
    expect(apiNodes.map(({ metadata }) => [metadata.name, metadata.labels?.['topology.kubernetes.io/zone']])).toEqual([
      ['room-a-n1', 'room-a'],
      ['room-a-n2', 'room-a'],
      ['room-b-n1', 'room-b'],
      ['room-b-n2', 'room-b'],
    ])
  })

  it('refuses a ServiceAccount what no role gives it', async () => {
    const token = await controlPlane.tokenFor('default', 'default')
    const { url, caPem } = controlPlane
    const client = apiClient({ url, caPem, token })
    await expect(client.list(nodesPath())).rejects.toMatchObject({ status: 403 })
    client.close()
  })

  it('brings VMs, StatefulSet and Deployment of a dead room back in the other by taint and forced deletion, and leaves nothing there', async () => {
    const { client } = controlPlane
    await createVm(client, { namespace, name: 'always', runStrategy: 'Always', room: 'room-b' })
    await createVm(client, { namespace, name: 'other', runStrategy: 'Always', room: 'room-a' })
    await createStatefulSet(client, {
      namespace,
      name: 'db',
      replicas: 1,
      accessMode: 'ReadWriteOnce',
      podSpec: { affinity: preferring('room-b') },
    })
    await createVm(client, { namespace, name: 'manual', runStrategy: 'Manual', room: 'room-b' })
    await createDeployment(client, { namespace, name: 'web', replicas: 2 })
    await createDaemonSet(client, { namespace, name: 'everywhere' })
    await client.replace(vmVerbPath(namespace, 'manual', 'start'), {})
    await runningIn('manual', 'room-b')
    const before = await runningIn('always', 'room-b')
    const untouched = await runningIn('other', 'room-a')
    const database = await until('db-0 is Running in room-b', 60_000, async () => {
      const pod = await client.get<Pod>(podsPath(namespace, 'db-0'))
      return pod.status.phase === 'Running' && pod.spec.nodeName?.startsWith('room-b-') ? pod : undefined
    })

    const place = nodes.nodes.find(({ name }) => name === before.status.nodeName)
    const state = nodes.state().find(({ name }) => name === before.status.nodeName)
    const launcher = state?.pods.find(({ vmiUid }) => vmiUid === before.metadata.uid)
    if (place === undefined || launcher === undefined) throw new Error('the VM has no launcher on its node')
    const directory = join(place.kubeletDirectory, 'pods', launcher.uid)
    expect(readdirSync(join(directory, 'volumeDevices', 'kubernetes.io~csi'))).toEqual(['pv-always'])
    const group = Number(readFileSync(join(directory, 'pgid'), 'utf8'))
    expect(launcher.processes).toBe('running')
    process.kill(-group, 'SIGSTOP')
    await until('the launcher is paused', 5000, () => stateOf(nodes, launcher.uid) === 'paused')
    process.kill(-group, 'SIGCONT')
    await until('the launcher runs again', 5000, () => stateOf(nodes, launcher.uid) === 'running')

    const bootIds = new Map(nodes.nodes.map(({ name, bootId }) => [name, bootId]))
    await nodes.powerOff({ room: 'room-b' })
    expect(groupStates(group)).toEqual([])
    expect(
      nodes
        .state()
        .filter(({ power }) => power === 'off')
        .flatMap(({ pods }) => pods),
    ).toEqual([])
    expect(existsSync(directory)).toBe(true)

    const dead = ['room-b-n1', 'room-b-n2']
    const taint = { key: 'node.kubernetes.io/out-of-service', value: 'test', effect: 'NoSchedule' }
    for (const name of dead) await client.patch(nodesPath(name), { spec: { taints: [taint] } }, 'strategic-merge-patch')
    const lost = (await client.list<Pod>(podsPath(namespace))).filter(
      ({ spec }) => spec.nodeName !== undefined && dead.includes(spec.nodeName),
    )
    for (const { metadata } of lost)
      await client.remove(podsPath(namespace, metadata.name), { gracePeriodSeconds: 0, preconditions: { uid: metadata.uid } })

    const after = await runningIn('always', 'room-a')
    expect(after.metadata.uid).not.toBe(before.metadata.uid)
    expect((await vmiOf('other')).metadata.uid).toBe(untouched.metadata.uid)
    await until('db-0 is another pod, Running in room-a', 60_000, async () => {
      const { metadata, spec, status } = await client.get<Pod>(podsPath(namespace, 'db-0'))
      return metadata.uid !== database.metadata.uid && status.phase === 'Running' && spec.nodeName?.startsWith('room-a-')
    })
    await until('no volume is attached to a dead node', 30_000, async () =>
      (await client.list<VolumeAttachment>(attachmentsPath())).every(({ spec }) => !dead.includes(spec.nodeName)),
    )
    expect(nodes.runningTwice()).toEqual([])

    await until(
      'the Manual VM, which nobody but a user starts, has Failed',
      30_000,
      async () => (await vmiOf('manual')).status.phase === 'Failed',
    )
    await client.replace(vmVerbPath(namespace, 'manual', 'start'), {})
    await runningIn('manual', 'room-a')
    await until('the Deployment runs in room-a', 60_000, async () => (await running('web', 'room-a')).length === 2)

    await nodes.powerOn({ room: 'room-b' })
    for (const name of dead) await client.patch(nodesPath(name), { spec: { taints: null } })
    for (const { name, bootId } of nodes.nodes)
      expect(bootId === bootIds.get(name), `${name}'s boot id is the old one`).toBe(!dead.includes(name))
    expect(existsSync(directory)).toBe(false)
    await until('the DaemonSet runs on all four nodes again', 60_000, async () => (await running('everywhere', 'room-')).length === 4)
    expect((await vmiOf('always')).metadata.uid).toBe(after.metadata.uid)
  })

  it('starts an agent with its node’s power, ends it with it, and notices one that ended by itself', async () => {
    const agents = await startAgents(controlPlane.keeper, nodes, {
      nodes: ['room-a-n1', 'room-b-n1'],
      configure: ({ bootIdFile }) => ({ command: ['sh', '-c', 'echo "boot $(cat "$0")"; exec sleep infinity', bootIdFile] }),
    })
    const boots = (): readonly string[] => readFileSync(agents.logFile('room-b-n1'), 'utf8').trimEnd().split('\n')
    await until('the agent wrote its boot id', 10_000, () => boots().length === 1 && boots()[0] !== '')
    const first = agents.program('room-b-n1')
    await nodes.powerOff({ nodes: ['room-b-n1'] })
    expect(first?.isRunning()).toBe(false)
    expect(agents.program('room-a-n1')?.isRunning()).toBe(true)
    await nodes.powerOn({ nodes: ['room-b-n1'] })
    await until('the agent of the booted node wrote another boot id', 10_000, () => new Set(boots()).size === 2)
    expect(agents.unexpectedEnds()).toEqual([])
    process.kill(agents.program('room-a-n1')?.pid ?? Number.NaN, 'SIGKILL')
    await until('its end is noticed', 10_000, () => agents.unexpectedEnds().length === 1)
    expect(agents.unexpectedEnds()).toMatchObject([{ node: 'room-a-n1', ended: 'SIGKILL' }])
    await agents.stop()
  })

  it('shows a VM running twice when a partitioned room is fenced without containment', async () => {
    const { client } = controlPlane
    await createVm(client, { namespace, name: 'split', runStrategy: 'Always', room: 'room-b' })
    const before = await runningIn('split', 'room-b')
    const node = before.status.nodeName ?? ''
    await nodes.partition({ nodes: [node] })
    await client.patch(nodesPath(node), { spec: { unschedulable: true } })
    const launchers = (await client.list<Pod>(podsPath(namespace))).filter(
      ({ spec, metadata }) => spec.nodeName === node && metadata.name.includes('split'),
    )
    for (const { metadata } of launchers)
      await client.remove(podsPath(namespace, metadata.name), { gracePeriodSeconds: 0, preconditions: { uid: metadata.uid } })
    await until('a second copy runs', 60_000, () => nodes.runningTwice().includes(`vm ${namespace}/split`))
    await nodes.powerOn({ nodes: [node] })
    await until('the healed kubelet ended the first copy', 30_000, () => nodes.runningTwice().length === 0)
    await client.patch(nodesPath(node), { spec: { unschedulable: null } })
  })
})

const preferring = (room: string): object => ({
  nodeAffinity: {
    preferredDuringSchedulingIgnoredDuringExecution: [
      { weight: 100, preference: { matchExpressions: [{ key: 'topology.kubernetes.io/zone', operator: 'In', values: [room] }] } },
    ],
  },
})

const stateOf = (nodes: FakeNodes, podUid: string): string | undefined =>
  nodes
    .state()
    .flatMap(({ pods }) => pods)
    .find(({ uid }) => uid === podUid)?.processes
