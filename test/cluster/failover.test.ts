/**
 * The main job on real input: the agent as it is shipped, one process a node, fails over half of the nodes of a real kube-apiserver, etcd,
 * controller manager, scheduler, virt-controller and virt-api.
 */
import { cpus } from 'node:os'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ApiObject } from '../support/api-client.ts'
import {
  attachmentsPath,
  type Node,
  nodesPath,
  type Pod,
  podsPath,
  type VirtualMachine,
  type VirtualMachineInstance,
  vmisPath,
  vmsPath,
  vmVerbPath,
  type VolumeAttachment,
} from './api/objects.ts'
import { type ControlPlane, ensureNamespace, startControlPlane } from './control-plane/start.ts'
import { defaultRoomLabel, type FakeNodes, startFakeNodes } from './nodes/fake-nodes.ts'
import { createVm } from './objects/virtual-machines.ts'
import { createDaemonSet, createDeployment, createStatefulSet } from './objects/workloads.ts'
import { isClusterSkipped } from './presence.ts'
import { markedProcesses } from './processes.ts'
import { type Recorder, startRecorder } from './recorder.ts'
import { type Roomfence, startRoomfence, watchdogSeconds } from './roomfence.ts'
import { sleep, stretched, until } from '../support/timing.ts'

interface Fence extends ApiObject {
  readonly spec: { readonly epoch: number; readonly nodes: readonly string[]; readonly rooms: readonly string[]; readonly reason: string }
  readonly status?: {
    readonly phase: string
    readonly carriedOutBy: string
    readonly message: string
    readonly nodes: readonly { readonly name: string; readonly proof: string; readonly fenced: boolean; readonly outOfService: boolean }[]
    readonly workloads: readonly { readonly kind: string; readonly name: string; readonly state: string; readonly proof: string }[]
    readonly unfenced?: readonly { readonly node: string; readonly by: string }[]
  }
}

const namespace = 'vms'
const [living, dead] = ['room-a', 'room-b'] as const
const fencesPath = '/apis/roomfence.io/v1/fences'
const preferringDead = {
  affinity: {
    nodeAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight: 100, preference: { matchExpressions: [{ key: defaultRoomLabel, operator: 'In', values: [dead] }] } },
      ],
    },
  },
}
/** What Kubernetes itself puts on a node that is silent. */
const kubernetesOwn = /^node\.kubernetes\.io\/(unreachable|not-ready)=/

describe.skipIf(isClusterSkipped())('roomfence on a real control plane with real KubeVirt controllers', () => {
  let controlPlane: ControlPlane
  let nodes: FakeNodes
  let roomfence: Roomfence
  let recorder: Recorder
  let deadNodes: readonly string[]

  const get = async <T>(path: string): Promise<T> => controlPlane.client.get<T>(path)
  const list = async <T>(path: string): Promise<readonly T[]> => controlPlane.client.list<T>(path)
  const vmi = async (name: string): Promise<VirtualMachineInstance> => get(vmisPath(namespace, name))
  const isIn = (node: string | undefined, room: string): boolean => node?.startsWith(`${room}-`) === true
  const runsIn = async (name: string, room: string, limitMs = 120_000): Promise<VirtualMachineInstance> =>
    until(`VM ${name} is Running in ${room}`, limitMs, async () => {
      const one = await vmi(name)
      return one.status.phase === 'Running' && isIn(one.status.nodeName, room) ? one : undefined
    })
  const isRunning = ({ metadata, status }: Pod): boolean => status.phase === 'Running' && metadata.deletionTimestamp === undefined
  const podsOf = async (app: string, room: string): Promise<readonly Pod[]> =>
    (await list<Pod>(`${podsPath(namespace)}?labelSelector=app%3D${app}`)).filter((pod) => isRunning(pod) && isIn(pod.spec.nodeName, room))
  const fence = async (after: number): Promise<Fence | undefined> => (await list<Fence>(fencesPath)).find(({ spec }) => spec.epoch > after)
  const phase = async (name: string, wanted: string, limitMs: number): Promise<Fence> =>
    until(`${name} is ${wanted}`, limitMs, async () => {
      const one = await get<Fence>(`${fencesPath}/${name}`)
      if (one.status?.phase === wanted) return one
      throw new Error(`it is ${one.status?.phase}: ${one.status?.message}; ${JSON.stringify(one.status?.workloads)}`)
    })
  const bindingsToDead = async (): Promise<readonly string[]> =>
    (await list<Pod>(podsPath()))
      .filter(({ metadata, spec }) => isIn(spec.nodeName, dead) && !metadata.ownerReferences?.some(({ kind }) => kind === 'DaemonSet'))
      .map(({ metadata }) => metadata.name)
  const expectHealthy = (): void => {
    expect(roomfence.agents.unexpectedEnds()).toEqual([])
    expect(roomfence.watchdogs.resets()).toEqual([])
    expect(recorder.ranTwice()).toEqual([])
  }
  const report = (title: string): void => {
    const [cpu] = cpus()
    const seconds = (ms: number | undefined): string => (ms === undefined ? '-' : `${(ms / 1_000).toFixed(1)} s`)
    const lines = recorder
      .times()
      .map((vm) => `  ${vm.name.padEnd(12)} ${seconds(vm.orderedMs).padStart(8)} ${seconds(vm.runningMs).padStart(8)}`)
    const machine = `${cpus().length} x ${cpu?.model ?? 'unknown processor'}; time factor ${stretched(1)}, watchdog ${watchdogSeconds} s, default timings, clockRateError 0.001`
    process.stdout.write(`\n${title}: power loss to ordered, to running (${machine})\n${lines.join('\n')}\n`)
  }

  beforeAll(async () => {
    controlPlane = await startControlPlane({ kubevirt: true })
    nodes = await startFakeNodes(controlPlane, { rooms: { [living]: 2, [dead]: 2 }, hasKubeVirt: true, timings: { leaseMs: 5_000 } })
    deadNodes = nodes.nodes.flatMap(({ name, room }) => (room === dead ? [name] : []))
    await ensureNamespace(controlPlane.client, namespace)
    recorder = await startRecorder(controlPlane.client, nodes, namespace)
    roomfence = await startRoomfence(controlPlane, nodes, living)
  })

  afterAll(async () => {
    recorder?.stop()
    await roomfence?.stop()
    await nodes?.stop()
    await controlPlane?.stop()
    if (controlPlane !== undefined) expect(markedProcesses(controlPlane.keeper.directory)).toEqual([])
  })

  it('brings everything of a room without power back in the other, and kills nothing twice', async () => {
    const { client } = controlPlane
    const runStrategies = { always: 'Always', rerun: 'RerunOnFailure', manual: 'Manual', once: 'Once', halted: 'Halted' } as const
    for (const [name, runStrategy] of Object.entries(runStrategies)) await createVm(client, { namespace, name, runStrategy, room: dead })
    await createVm(client, { namespace, name: 'here', runStrategy: 'Always', room: living })
    await createVm(client, { namespace, name: 'here-manual', runStrategy: 'Manual', room: living })
    await createStatefulSet(client, { namespace, name: 'db', replicas: 2, accessMode: 'ReadWriteOnce', podSpec: preferringDead })
    await createDeployment(client, { namespace, name: 'web', replicas: 2, podSpec: preferringDead })
    await createDeployment(client, { namespace, name: 'spread', replicas: 3 })
    await createDaemonSet(client, { namespace, name: 'everywhere' })
    for (const name of ['manual', 'here-manual'])
      await until(`${name} can be started`, 30_000, async () => client.replace(vmVerbPath(namespace, name, 'start'), {}).then(() => true))
    const lost = new Map<string, string>()
    for (const name of ['always', 'rerun', 'manual', 'once']) lost.set(name, (await runsIn(name, dead)).metadata.uid)
    const untouched = new Map<string, string>()
    for (const name of ['here', 'here-manual']) untouched.set(name, (await runsIn(name, living)).metadata.uid)
    await until('the StatefulSet, the Deployment and the DaemonSet run', 120_000, async () => {
      const [db, web, spread, everywhere] = await Promise.all([
        podsOf('db', dead),
        podsOf('web', dead),
        podsOf('spread', 'room'),
        podsOf('everywhere', 'room'),
      ])
      return db.length === 2 && web.length === 2 && everywhere.length === 4 && spread.length >= 0
    })
    expectHealthy()

    recorder.start(dead)
    await nodes.powerOff({ room: dead })
    const first = await until('a Fence of the dead room', 60_000, async () => fence(0))
    expect(first.spec).toMatchObject({ nodes: deadNodes, rooms: [dead] })
    for (const name of ['always', 'rerun', 'manual']) expect((await runsIn(name, living, 180_000)).metadata.uid).not.toBe(lost.get(name))
    const database = await until('both pods of the StatefulSet are Ready in the other room', 180_000, async () => {
      const pods = await podsOf('db', living)
      return pods.length === 2 ? pods.map(({ metadata }) => metadata.uid).sort() : undefined
    })
    await until('the Deployment runs in the other room', 120_000, async () => (await podsOf('web', living)).length === 2)
    const finished = await phase(first.metadata.name, 'Finished', 180_000)
    report('real control plane')
    for (const { name, proof, fenced, outOfService } of finished.status?.nodes ?? [])
      expect({ name, proof, fenced, outOfService }).toEqual({ name, proof: 'timed', fenced: true, outOfService: true })
    expect(finished.status?.nodes.map(({ name }) => name).toSorted()).toEqual(deadNodes)
    const settled = new Map(finished.status?.workloads.map(({ name, state, proof }) => [name, { state, proof }]))
    for (const name of ['always', 'rerun', 'manual'])
      expect([name, settled.get(name)]).toEqual([name, { state: 'running', proof: 'timed' }])

    expect(await bindingsToDead()).toEqual([])
    await until('no volume is attached in the dead room', 60_000, async () =>
      (await list<VolumeAttachment>(attachmentsPath())).every(({ spec }) => !isIn(spec.nodeName, dead)),
    )
    // Long enough for Kubernetes' own eviction to find the dead nodes, and for anything that would still be killed or put back.
    await until('Kubernetes itself calls the dead nodes unreachable', 180_000, () =>
      recorder.taints().some((taint) => taint.startsWith('node.kubernetes.io/unreachable=:NoExecute')),
    )
    await sleep(stretched(15_000))

    expect((await podsOf('db', living)).map(({ metadata }) => metadata.uid).toSorted()).toEqual(database)
    for (const [name, uid] of untouched) expect((await vmi(name)).metadata.uid).toBe(uid)
    expect((await get<VirtualMachine>(vmsPath(namespace, 'halted'))).status?.printableStatus).toBe('Stopped')
    expect((await list<VirtualMachineInstance>(vmisPath(namespace))).map(({ metadata }) => metadata.name)).not.toContain('halted')
    const once = await vmi('once').catch(() => undefined)
    expect(
      once === undefined || (once.metadata.uid === lost.get('once') && once.status.phase === 'Failed'),
      'Once was not started again',
    ).toBe(true)
    expect(recorder.killed()).toEqual([])
    expect(recorder.putOnDeadNodes()).toEqual([])
    expect(recorder.taints().filter((taint) => !kubernetesOwn.test(taint))).toEqual([
      'node.kubernetes.io/out-of-service=roomfence:NoSchedule',
      `roomfence.io/fenced=${first.spec.epoch}:NoSchedule`,
    ])
    for (const { metadata, spec } of await list<Node>(nodesPath())) if (isIn(metadata.name, living)) expect(spec.taints ?? []).toEqual([])

    // A finished fence that the API server lost, as with a backup that is older: it is carried out again.
    const [forgotten = ''] = deadNodes
    const ours = ({ key }: { readonly key: string }): boolean => key.startsWith('roomfence.io/') || key.endsWith('/out-of-service')
    const taintsOf = async (): Promise<readonly { readonly key: string }[]> => (await get<Node>(nodesPath(forgotten))).spec.taints ?? []
    await client.remove(`${fencesPath}/${first.metadata.name}`)
    await client.patch(nodesPath(forgotten), { spec: { taints: (await taintsOf()).filter((taint) => !ours(taint)) } })
    await until('its taints are there again', 60_000, async () => (await taintsOf()).filter(ours).length === 2)
    await phase(first.metadata.name, 'Finished', 60_000)
    expectHealthy()
  })

  it('takes the room back when a person asks: nothing runs there before, anything may afterwards', async () => {
    const { client } = controlPlane
    const [first] = await list<Fence>(fencesPath)
    if (first === undefined) throw new Error('there is no fence to undo')
    await nodes.powerOn({ room: dead })
    await until('the agents of the booted room say that they killed under the fence', 120_000, async () => {
      const all = await Promise.all(deadNodes.map(async (name) => roomfence.status(name)))
      return all.every((one) => one !== undefined && one.killedEpoch >= first.spec.epoch)
    })
    await sleep(stretched(5_000))
    expect(recorder.putOnDeadNodes()).toEqual([])

    for (const name of deadNodes) await client.patch(nodesPath(name), { metadata: { annotations: { 'roomfence.io/unfence': 'true,ada' } } })
    await phase(first.metadata.name, 'Unfenced', 180_000)
    const undone = (await list<Fence>(fencesPath)).find(({ metadata }) => metadata.name === first.metadata.name)
    expect(undone?.status?.unfenced?.map(({ by }) => by)).toEqual(deadNodes.map(() => 'ada'))
    await until('no taint is left', 120_000, async () => {
      const all = await list<Node>(nodesPath())
      const left = all.flatMap(({ spec }) => spec.taints ?? [])
      if (left.length > 0) throw new Error(JSON.stringify(left))
      return true
    })
    await until('every agent sees all nodes vote in one epoch', 120_000, async () => {
      const all = await Promise.all(nodes.nodes.map(async ({ name }) => roomfence.status(name)))
      const isWhole = all.every((one) => one?.members.every(({ standing }) => standing === 'voting') && one.permitRemainingSeconds > 0)
      if (isWhole && new Set(all.map((one) => one?.epoch)).size === 1) return true
      throw new Error(JSON.stringify(all))
    })
    await createVm(client, { namespace, name: 'returned', runStrategy: 'Always', room: dead })
    await runsIn('returned', dead)
    for (const { metadata } of await list<Node>(nodesPath()))
      if (isIn(metadata.name, dead)) expect(metadata.annotations?.['roomfence.io/unfence']).toBeUndefined()
    expectHealthy()
  })

  it('is finished by another agent when the one that carries it out is killed in the middle', async () => {
    const { client } = controlPlane
    for (const name of ['second', 'third']) {
      await createVm(client, { namespace, name, runStrategy: 'Always', room: dead })
      await runsIn(name, dead)
    }
    const epochs = (await list<Fence>(fencesPath)).map(({ spec }) => spec.epoch)
    const victim = `${living}-n1`
    recorder.start(dead)
    await nodes.powerOff({ room: dead })
    const begun = await until('a fence that is not finished', 60_000, async () => {
      const one = await fence(Math.max(...epochs))
      return one?.status?.carriedOutBy === victim ? one : undefined
    })
    expect(begun.status?.phase).not.toBe('Finished')
    await roomfence.agents.kill(victim)
    await until('the other agent carries it out', 60_000, async () => {
      const one = await get<Fence>(`${fencesPath}/${begun.metadata.name}`)
      return one.status?.carriedOutBy === `${living}-n2`
    })
    for (const name of ['returned', 'second', 'third']) await runsIn(name, living, 180_000)
    const finished = await phase(begun.metadata.name, 'Finished', 180_000)
    report('real control plane, the agent that carried it out killed')
    expect(finished.status?.carriedOutBy).toBe(`${living}-n2`)
    await roomfence.agents.start(victim)
    await until('the killed agent is back, has a permit and knows the fence', 60_000, async () => {
      const one = await roomfence.status(victim)
      return one !== undefined && (one.epoch ?? -1) >= begun.spec.epoch && one.permitRemainingSeconds > 0 && one.watchdog.isArmed
    })
    await sleep(stretched(5_000))
    expect(recorder.killed()).toEqual([])
    expect(await bindingsToDead()).toEqual([])
    expect(recorder.putOnDeadNodes()).toEqual([])
    expectHealthy()
  })
})
