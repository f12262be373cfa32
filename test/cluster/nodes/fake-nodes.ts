/**
 * Nodes whose kubelet, CSI attacher, virt-handler and virt-launchers are played, in the test's own process, against a real
 * control plane; their power can be cut and their network parted by room or by node.
 */
import { randomUUID } from 'node:crypto'
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ApiClient, isApiError } from '../../support/api-client.ts'
import { attachmentsPath, nodesPath, podsPath, type VirtualMachineInstance, vmisPath } from '../api/objects.ts'
import type { ProcessKeeper } from '../processes.ts'
import { sleep, until } from '../../support/timing.ts'
import { csiAttacher } from './csi-attacher.ts'
import { dropPod, registerNode, renewLease, reportStatus, syncPod } from './kubelet.ts'
import { podProcesses, type ProcessState } from './pod-processes.ts'
import {
  attempt,
  defaultTimings,
  type FakeNode,
  type NodeSetting,
  type NodeTimings,
  type Power,
  type RunningPod,
  scaled,
  thisLife,
} from './setting.ts'
import { sendHeartbeat, syncVmi } from './virt-handler.ts'

/** A whole room, or nodes by name. */
type Where = { readonly room: string } | { readonly nodes: readonly string[] }

/** What a test may know of a node. */
export type NodePlace = Pick<FakeNode, 'name' | 'room' | 'directory' | 'kubeletDirectory' | 'bootIdFile'> & { readonly bootId: string }

/** Called with each power change of each node; power changes wait for them. The node's own processes are gone, or not yet there. */
interface PowerHooks {
  readonly onPowerOff?: (node: NodePlace) => void | Promise<void>
  readonly onPowerOn?: (node: NodePlace) => void | Promise<void>
  readonly onPartition?: (node: NodePlace) => void | Promise<void>
  /** The network is back; the node was never off. */
  readonly onHeal?: (node: NodePlace) => void | Promise<void>
}

interface NodeState {
  readonly name: string
  readonly room: string
  readonly power: Power
  readonly bootId: string
  /** What really runs there, whatever the API says. `processes` only for pods that have CSI volumes. */
  readonly pods: readonly (RunningPod & { readonly uid: string; readonly processes: ProcessState })[]
}

export interface FakeNodesOptions {
  /** Room to number of nodes, called `<room>-n1` and so on. */
  readonly rooms: Readonly<Record<string, number>>
  readonly hasKubeVirt?: boolean
  readonly driver?: string
  readonly roomLabel?: string
  readonly timings?: Partial<NodeTimings>
}

export interface FakeNodes {
  readonly nodes: readonly NodePlace[]
  /** All at one moment, then resolves when their processes are gone. */
  powerOff(where: Where): Promise<void>
  /** No traffic of these nodes reaches the API, nor the other way; their pods run on. */
  partition(where: Where): Promise<void>
  /** Boots what was off (new boot id), heals what was partitioned. */
  powerOn(where: Where): Promise<void>
  state(): readonly NodeState[]
  /** The VMI uids (or pod uids) that run on more than one node at this moment: two copies of one VM, where there must be none. */
  runningTwice(): readonly string[]
  addHooks(hooks: PowerHooks): void
  stop(): Promise<void>
}

export const defaultDriver = 'linstor.csi.linbit.com'
export const defaultRoomLabel = 'topology.kubernetes.io/zone'

/** `keeper` gives the directory and keeps the pods' processes: the control plane's. */
export const startFakeNodes = async (
  { client, keeper }: { readonly client: ApiClient; readonly keeper: ProcessKeeper },
  options: FakeNodesOptions,
): Promise<FakeNodes> => {
  const nodes = new Map<string, FakeNode>()
  const hooks: PowerHooks[] = []
  const logFile = join(keeper.directory, 'logs', 'fake-nodes.log')
  const log = (line: string): void => appendFileSync(logFile, `${new Date().toISOString()} ${line}\n`)

  for (const [room, count] of Object.entries(options.rooms)) {
    for (let number = 1; number <= count; number++) {
      const name = `${room}-n${number}`
      const directory = join(keeper.directory, 'nodes', name)
      const kubeletDirectory = join(directory, 'kubelet')
      mkdirSync(join(kubeletDirectory, 'pods'), { recursive: true })
      nodes.set(name, {
        name,
        room,
        index: nodes.size + 1,
        directory,
        kubeletDirectory,
        bootIdFile: join(directory, 'boot_id'),
        handlerClient: client.as(
          'system:serviceaccount:kubevirt:kubevirt-handler',
          ['system:serviceaccounts', 'system:serviceaccounts:kubevirt', 'system:authenticated'],
          { 'authentication.kubernetes.io/node-name': name },
        ),
        bootId: '',
        power: 'off',
        life: 0,
        uid: '',
        readyAt: '',
        reportedVolumes: '',
        reportedAtMs: 0,
        running: new Map(),
        starting: new Map(),
        stopping: new Set(),
        syncingVmis: new Map(),
      })
    }
  }

  const hasKubeVirt = options.hasKubeVirt ?? false
  const vmis = hasKubeVirt
    ? client.watch<VirtualMachineInstance>(vmisPath(), (type, vmi) => {
        if (type === 'DELETED') return
        for (const name of new Set([vmi.metadata.labels?.['kubevirt.io/nodeName'], vmi.status?.migrationState?.targetNode])) {
          const node = name === undefined ? undefined : nodes.get(name)
          if (node !== undefined) syncVmi(setting, node, vmi)
        }
      })
    : undefined
  const setting: NodeSetting = {
    client,
    timings: scaled({ ...defaultTimings, ...options.timings }),
    hasKubeVirt,
    driver: options.driver ?? defaultDriver,
    roomLabel: options.roomLabel ?? defaultRoomLabel,
    nodes,
    apiNodes: client.watch(nodesPath()),
    pods: client.watch(podsPath(), (type, pod) => {
      const node = pod.spec.nodeName === undefined ? undefined : nodes.get(pod.spec.nodeName)
      if (node === undefined) return
      if (type === 'DELETED') dropPod(setting, node, pod.metadata.uid)
      else syncPod(setting, node, pod)
    }),
    vmis,
    attachments: client.watch(attachmentsPath(), (type, attachment) => {
      if (type !== 'DELETED') attach(attachment)
    }),
    volumeNames: new Map(),
    processes: podProcesses(keeper),
    log,
  }
  const attach = csiAttacher(setting)

  const select = (where: Where): readonly FakeNode[] => {
    const chosen = [...nodes.values()].filter(({ name, room }) => ('room' in where ? where.room === room : where.nodes.includes(name)))
    if (chosen.length === 0) throw new Error(`no node matches ${JSON.stringify(where)}; there are ${[...nodes.keys()].join(', ')}`)
    return chosen
  }
  const tell = async (name: keyof PowerHooks, node: FakeNode): Promise<void> => {
    await Promise.all(hooks.map(async (hook) => hook[name]?.(node)))
  }

  const repeat = async (node: FakeNode, who: string, everyMs: number, jitter: number, work: () => Promise<void>): Promise<void> => {
    const isAlive = thisLife(node)
    await sleep(Math.random() * Math.min(everyMs, 10_000))
    while (isAlive()) {
      await attempt(setting, `${node.name} ${who}`, work())
      await sleep(everyMs * (1 + jitter * Math.random()))
    }
  }

  const boot = async (node: FakeNode): Promise<void> => {
    const { timings } = setting
    const isHealing = node.power === 'partitioned'
    node.power = 'on'
    node.life++
    node.starting.clear()
    node.stopping.clear()
    node.syncingVmis.clear()
    if (!isHealing) {
      node.bootId = randomUUID()
      writeFileSync(node.bootIdFile, `${node.bootId}\n`)
    }
    log(`${node.name}: ${isHealing ? 'network is back' : 'power on'}`)
    await tell(isHealing ? 'onHeal' : 'onPowerOn', node)
    await registerNode(setting, node)
    await reportStatus(setting, node, true)
    await renewLease(setting, node)
    void repeat(node, 'lease', timings.leaseMs, 0.04, async () => renewLease(setting, node))
    void repeat(node, 'status', timings.statusMs, 0.04, async () => reportStatus(setting, node))
    if (hasKubeVirt) void repeat(node, 'heartbeat', timings.heartbeatMs, 1.2, async () => sendHeartbeat(node))
    const bound = [...setting.pods.objects.values()].filter(({ spec }) => spec.nodeName === node.name)
    const known = new Set(bound.map(({ metadata }) => metadata.uid))
    setting.processes.removeDirectoriesExcept(node.kubeletDirectory, new Set([...known, ...node.running.keys()]))
    for (const uid of node.running.keys()) if (!known.has(uid)) dropPod(setting, node, uid)
    for (const pod of bound) syncPod(setting, node, pod)
    for (const vmi of setting.vmis?.objects.values() ?? []) syncVmi(setting, node, vmi)
  }

  const cut = (chosen: readonly FakeNode[], power: 'off' | 'partitioned'): readonly FakeNode[] => {
    const changed = chosen.filter((node) => node.power !== power && !(power === 'partitioned' && node.power === 'off'))
    for (const node of changed) {
      node.power = power
      node.life++
      node.starting.clear()
      log(`${node.name}: ${power}`)
    }
    return changed
  }

  const powerOff = async (where: Where): Promise<void> => {
    await Promise.all(
      cut(select(where), 'off').map(async (node) => {
        const uids = [...node.running.keys()]
        node.running.clear()
        await Promise.all([...uids.map(async (uid) => setting.processes.end(node.kubeletDirectory, uid, true)), tell('onPowerOff', node)])
      }),
    )
  }

  const processesOf = (uid: string, { volumes }: RunningPod): ProcessState =>
    volumes.length === 0 ? 'running' : setting.processes.state(uid)

  const fakeNodes: FakeNodes = {
    nodes: [...nodes.values()],
    powerOff,
    partition: async (where) => {
      await Promise.all(cut(select(where), 'partitioned').map(async (node) => tell('onPartition', node)))
    },
    powerOn: async (where) => {
      await Promise.all(
        select(where)
          .filter(({ power }) => power !== 'on')
          .map(boot),
      )
    },
    state: () =>
      [...nodes.values()].map(({ name, room, power, bootId, running }) => ({
        name,
        room,
        power,
        bootId,
        pods: [...running].map(([uid, pod]) => ({
          uid,
          ...pod,
          processes: processesOf(uid, pod),
        })),
      })),
    runningTwice: () => {
      const places = new Map<string, Set<string>>()
      for (const node of nodes.values())
        for (const [uid, pod] of node.running) {
          if (processesOf(uid, pod) !== 'running') continue
          // a VM by its name, since its second copy is another instance; another pod by its name, since a StatefulSet's is another pod
          const id = pod.isLauncher
            ? `vm ${pod.namespace}/${pod.name.replace(/^virt-launcher-(.*)-[a-z0-9]{5}$/, '$1')}`
            : `pod ${pod.namespace}/${pod.name}`
          places.set(id, (places.get(id) ?? new Set()).add(node.name))
        }
      return [...places].filter(([, on]) => on.size > 1).map(([id]) => id)
    },
    addHooks: (added) => void hooks.push(added),
    stop: async () => {
      for (const watch of [setting.pods, setting.apiNodes, setting.attachments, setting.vmis]) watch?.stop()
      await powerOff({ nodes: [...nodes.keys()] })
    },
  }

  const csiDriver = { metadata: { name: setting.driver }, spec: { attachRequired: true, podInfoOnMount: false } }
  for (const [path, object] of [
    ['/apis/storage.k8s.io/v1/csidrivers', csiDriver],
    ['/api/v1/namespaces', { metadata: { name: 'kube-node-lease' } }],
  ] as const)
    await client.create(path, object).catch((error: unknown) => {
      if (!isApiError(error, 409)) throw error
    })
  const watches = [setting.pods, setting.apiNodes, setting.attachments, ...(vmis === undefined ? [] : [vmis])]
  await Promise.all(watches.map(async ({ listed }) => listed))
  await Promise.all([...nodes.values()].map(boot))
  await until('all fake nodes are Ready without taints', 60_000, () => {
    const apiNodes = [...setting.apiNodes.objects.values()].filter(({ metadata }) => nodes.has(metadata.name))
    const isReady = apiNodes.every(
      ({ spec, status }) => !spec.taints?.length && status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
    )
    return apiNodes.length === nodes.size && isReady
  })
  return fakeNodes
}
