/** Follows each workload that a power loss takes, from the API alone: its old pod gone, another instance of it running in the living room. */
import type { ApiClient } from '../../support/api-client.ts'
import { type Node, nodesPath, type Pod, podsPath, type VirtualMachineInstance, vmisPath } from '../../cluster/api/objects.ts'
import type { Recovery, WorkloadKind } from './bench-table.ts'

export interface Recording {
  /** The moment of the power loss: what has a pod on a dead node then is what is followed. Returns how many. */
  start(): number
  sinceMs(): number
  recoveries(): readonly Recovery[]
  /** When Kubernetes called each dead node NotReady. */
  notReady(): ReadonlyMap<string, number>
  stop(): void
}

interface Lost {
  readonly kind: WorkloadKind
  readonly name: string
  readonly podUid: string
}

const kindOf = ({ metadata }: Pod): WorkloadKind | undefined => {
  if (metadata.labels?.['kubevirt.io'] === 'virt-launcher') return 'VM'
  const owner = metadata.ownerReferences?.find(({ controller }) => controller === true)?.kind
  return owner === 'StatefulSet' ? 'StatefulSet pod' : owner === 'ReplicaSet' ? 'Deployment pod' : undefined
}

const isTrue = (conditions: Pod['status']['conditions'], wanted: string): boolean =>
  conditions?.some(({ type, status }) => type === wanted && status === 'True') === true

/** `deadNodes` are those that will be. */
export const startRecording = async (client: ApiClient, namespace: string, deadNodes: ReadonlySet<string>): Promise<Recording> => {
  let startedMs = Number.POSITIVE_INFINITY
  let lost: readonly Lost[] = []
  const before = new Set<string>()
  const podGone = new Map<string, number>()
  const vmiRunning = new Map<string, number>()
  /** New pods that became Ready on living nodes, by their uid. */
  const ready = new Map<string, { readonly name: string; readonly kind: WorkloadKind; readonly atMs: number }>()
  const notReady = new Map<string, number>()
  const sinceMs = (): number => performance.now() - startedMs
  const isOn = (): boolean => performance.now() >= startedMs
  const lives = (node: string | undefined): boolean => node !== undefined && !deadNodes.has(node)

  const pods = client.watch<Pod>(podsPath(namespace), (type, pod) => {
    const { metadata, spec, status } = pod
    if (!isOn()) return
    if (type === 'DELETED') {
      podGone.set(metadata.uid, sinceMs())
      return
    }
    const kind = kindOf(pod)
    if (kind === undefined || before.has(metadata.uid) || ready.has(metadata.uid) || !lives(spec.nodeName)) return
    if (metadata.deletionTimestamp === undefined && isTrue(status.conditions, 'Ready'))
      ready.set(metadata.uid, { name: metadata.name, kind, atMs: sinceMs() })
  })
  const vmis = client.watch<VirtualMachineInstance>(vmisPath(namespace), (type, { metadata, status }) => {
    if (!isOn() || type === 'DELETED' || before.has(metadata.uid) || vmiRunning.has(metadata.name)) return
    if (status.phase === 'Running' && lives(status.nodeName)) vmiRunning.set(metadata.name, sinceMs())
  })
  const nodes = client.watch<Node>(nodesPath(), (_type, { metadata, status }) => {
    if (isOn() && deadNodes.has(metadata.name) && !notReady.has(metadata.name) && !isTrue(status.conditions, 'Ready'))
      notReady.set(metadata.name, sinceMs())
  })
  await Promise.all([pods.listed, vmis.listed, nodes.listed])

  return {
    start: () => {
      for (const uid of [...pods.objects.keys(), ...vmis.objects.keys()]) before.add(uid)
      lost = [...pods.objects.values()].flatMap((pod) => {
        const kind = kindOf(pod)
        const { metadata, spec } = pod
        if (kind === undefined || spec.nodeName === undefined || lives(spec.nodeName)) return []
        return [{ kind, name: metadata.labels?.['vm.kubevirt.io/name'] ?? metadata.name, podUid: metadata.uid }]
      })
      startedMs = performance.now()
      return lost.length
    },
    sinceMs,
    recoveries: () => {
      // A Deployment's pods have names of their own: the first new one stands for the first lost one, and so on.
      const replacements = [...ready.values()]
        .flatMap(({ kind, atMs }) => (kind === 'Deployment pod' ? [atMs] : []))
        .toSorted((a, b) => a - b)
      const running = (one: Lost): number | undefined => {
        if (one.kind === 'VM') return vmiRunning.get(one.name)
        if (one.kind === 'Deployment pod') return replacements.shift()
        return [...ready.values()].find(({ kind, name }) => kind === one.kind && name === one.name)?.atMs
      }
      return lost.map((one) => ({ kind: one.kind, name: one.name, orderedMs: podGone.get(one.podUid), runningMs: running(one) }))
    },
    notReady: () => notReady,
    stop: () => {
      for (const watch of [pods, vmis, nodes]) watch.stop()
    },
  }
}
