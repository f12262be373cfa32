/** Writes down what happens in the cluster while a room is dead, from the API alone: who ran when, what was killed, what was put where. */
import type { ApiClient } from '../support/api-client.ts'
import { type Node, nodesPath, type Pod, podsPath, type VirtualMachineInstance, vmisPath } from './api/objects.ts'
import type { FakeNodes } from './nodes/fake-nodes.ts'

export interface VmTimes {
  readonly name: string
  /** Milliseconds from the power loss until the launcher of the dead room was gone from the API, which lets KubeVirt start another. */
  readonly orderedMs: number | undefined
  /** Until another instance of it was Running. */
  readonly runningMs: number | undefined
}

export interface Recorder {
  /** The moment of the power loss. */
  start(deadRoom: string): void
  /** Names of pods on living nodes that somebody deleted since, with the moment. */
  killed(): readonly string[]
  /** Pods bound to a dead node since, `pod on node`; a DaemonSet's do not count. */
  putOnDeadNodes(): readonly string[]
  /** Taint keys seen on any node since, each once, `key=value:effect`. */
  taints(): readonly string[]
  /** What ever ran on two nodes at once. */
  ranTwice(): readonly string[]
  times(): readonly VmTimes[]
  stop(): void
}

const LOOK_EVERY_MS = 500

const isOfDaemonSet = ({ metadata }: Pod): boolean => metadata.ownerReferences?.some(({ kind }) => kind === 'DaemonSet') === true
const vmOf = ({ metadata }: Pod): string | undefined => metadata.labels?.['vm.kubevirt.io/name']

/** Pods and VMIs of one namespace; nodes all. */
export const startRecorder = async (
  client: ApiClient,
  fakeNodes: Pick<FakeNodes, 'nodes' | 'runningTwice'>,
  namespace: string,
): Promise<Recorder> => {
  const places = new Map(fakeNodes.nodes.map(({ name, room }) => [name, room]))
  let startedMs = Number.POSITIVE_INFINITY
  let deadRoom = ''
  const killed = new Map<string, string>()
  const putBack = new Set<string>()
  const taints = new Set<string>()
  const twice = new Set<string>()
  const before = new Set<string>()
  const ordered = new Map<string, number>()
  const running = new Map<string, number>()
  const sinceMs = (): number => performance.now() - startedMs
  const isOn = (): boolean => performance.now() >= startedMs

  const pods = client.watch<Pod>(podsPath(namespace), (type, pod) => {
    const { metadata, spec } = pod
    if (!isOn() || spec.nodeName === undefined) return
    const isDead = places.get(spec.nodeName) === deadRoom
    if (!isDead && (type === 'DELETED' || metadata.deletionTimestamp !== undefined) && !killed.has(metadata.uid))
      killed.set(metadata.uid, `${metadata.name} on ${spec.nodeName} after ${Math.round(sinceMs())} ms`)
    if (isDead && type !== 'DELETED' && !before.has(metadata.uid) && !isOfDaemonSet(pod))
      putBack.add(`${metadata.name} on ${spec.nodeName}`)
    const vm = vmOf(pod)
    if (isDead && type === 'DELETED' && vm !== undefined && !ordered.has(vm)) ordered.set(vm, sinceMs())
  })
  const vmis = client.watch<VirtualMachineInstance>(vmisPath(namespace), (type, { metadata, status }) => {
    if (!isOn() || type === 'DELETED' || before.has(metadata.uid) || running.has(metadata.name)) return
    if (status.phase === 'Running') running.set(metadata.name, sinceMs())
  })
  const nodes = client.watch<Node>(nodesPath(), (_type, { spec }) => {
    if (isOn()) for (const { key, value = '', effect } of spec.taints ?? []) taints.add(`${key}=${value}:${effect}`)
  })
  await Promise.all([pods.listed, vmis.listed, nodes.listed])
  const timer = setInterval(() => {
    for (const one of fakeNodes.runningTwice()) twice.add(one)
  }, LOOK_EVERY_MS)

  return {
    start: (room) => {
      for (const known of [killed, putBack, taints, twice, before, ordered, running]) known.clear()
      for (const uid of [...pods.objects.keys(), ...vmis.objects.keys()]) before.add(uid)
      deadRoom = room
      startedMs = performance.now()
    },
    killed: () => [...killed.values()],
    putOnDeadNodes: () => [...putBack],
    taints: () => [...taints].sort(),
    ranTwice: () => [...twice],
    times: () =>
      [...new Set([...ordered.keys(), ...running.keys()])]
        .sort()
        .map((name) => ({ name, orderedMs: ordered.get(name), runningMs: running.get(name) })),
    stop: () => {
      clearInterval(timer)
      for (const watch of [pods, vmis, nodes]) watch.stop()
    },
  }
}
