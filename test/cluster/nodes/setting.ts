/** What the parts of the fake nodes share: the node, its timings, and the copies of the API's objects they all look at. */
import type { ApiClient, WatchedObjects } from '../../support/api-client.ts'
import type { Node, Pod, VirtualMachineInstance, VolumeAttachment } from '../api/objects.ts'
import { isApiError } from '../../support/api-client.ts'
import { stretched } from '../../support/timing.ts'
import type { PodProcesses } from './pod-processes.ts'

/** Milliseconds, before the time factor. The defaults are the real programs' own where they have one. */
export interface NodeTimings {
  /** kubelet renews its Lease: 40 s * 0.25. */
  readonly leaseMs: number
  /** kubelet looks whether its node's status changed. */
  readonly statusMs: number
  /** kubelet reports an unchanged status. */
  readonly reportMs: number
  readonly podStartMs: number
  readonly podStopMs: number
  readonly attachMs: number
  readonly detachMs: number
  /** A VMI from Scheduled to Running. */
  readonly vmBootMs: number
  /** A guest's own shutdown. */
  readonly vmShutdownMs: number
  /** virt-handler's heartbeat, to which it adds up to 120 %. */
  readonly heartbeatMs: number
  /** A live migration; 0 is one that never ends. */
  readonly migrationMs: number
}

export const defaultTimings: NodeTimings = {
  leaseMs: 10_000,
  statusMs: 10_000,
  reportMs: 300_000,
  podStartMs: 1000,
  podStopMs: 1000,
  attachMs: 300,
  detachMs: 300,
  vmBootMs: 1000,
  vmShutdownMs: 2000,
  heartbeatMs: 60_000,
  migrationMs: 0,
}

export type Power = 'on' | 'off' | 'partitioned'

export interface RunningPod {
  readonly namespace: string
  readonly name: string
  /** As in `node.status.volumesInUse`: `kubernetes.io/csi/<driver>^<handle>`. */
  readonly volumes: readonly string[]
  readonly since: string
  /** Set for a virt-launcher. */
  readonly vmiUid: string | undefined
  readonly isLauncher: boolean
}

export interface FakeNode {
  readonly name: string
  readonly room: string
  readonly index: number
  /** The node's disk: `kubelet/`, `boot_id`, and whatever the test keeps there (an agent's configuration and state). */
  readonly directory: string
  readonly kubeletDirectory: string
  /** As /proc/sys/kernel/random/boot_id; rewritten at every power-on. */
  readonly bootIdFile: string
  /** virt-handler's ServiceAccount on this node, which virt-api's webhook asks for. */
  readonly handlerClient: ApiClient
  bootId: string
  power: Power
  /** Counts power changes: what was waiting in an earlier life does nothing more. */
  life: number
  uid: string
  readyAt: string
  reportedVolumes: string
  reportedAtMs: number
  readonly running: Map<string, RunningPod>
  /** Pod uid to the volumes it waits for. */
  readonly starting: Map<string, readonly string[]>
  readonly stopping: Set<string>
  /** VMI uid to whether it changed meanwhile. */
  readonly syncingVmis: Map<string, boolean>
}

export interface NodeSetting {
  readonly client: ApiClient
  readonly timings: NodeTimings
  readonly hasKubeVirt: boolean
  readonly driver: string
  /** Label of the room. */
  readonly roomLabel: string
  readonly nodes: ReadonlyMap<string, FakeNode>
  readonly pods: WatchedObjects<Pod>
  readonly apiNodes: WatchedObjects<Node>
  readonly vmis: WatchedObjects<VirtualMachineInstance> | undefined
  readonly attachments: WatchedObjects<VolumeAttachment>
  /** Name of a PersistentVolume to its name in a node's status. */
  readonly volumeNames: Map<string, string>
  readonly processes: PodProcesses
  readonly log: (line: string) => void
}

export const isFinished = (phase: string | undefined): boolean => phase === 'Succeeded' || phase === 'Failed'

export const scaled = (timings: NodeTimings): NodeTimings =>
  Object.fromEntries(Object.entries(timings).map(([name, ms]) => [name, stretched(ms as number)])) as unknown as NodeTimings

/** A guard for one life of the node: true while it is on and was not switched meanwhile. */
export const thisLife = (node: FakeNode): (() => boolean) => {
  const life = node.life
  return () => node.life === life && node.power === 'on'
}

/** Lets a controller's call fail as controllers do: what is gone or changed is another event's matter, the rest is logged. */
export const logged = (setting: NodeSetting, who: string, work: Promise<unknown>): void => {
  void attempt(setting, who, work)
}

export const attempt = async (setting: NodeSetting, who: string, work: Promise<unknown>): Promise<void> => {
  try {
    await work
  } catch (error) {
    if (!isApiError(error, 404, 409)) setting.log(`${who}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

export const vmiUidOf = (pod: Pod): string | undefined =>
  pod.metadata.ownerReferences?.find(({ controller, kind }) => controller === true && kind === 'VirtualMachineInstance')?.uid

export const podOfVmi = (setting: NodeSetting, vmiUid: string, node: string): Pod | undefined =>
  [...setting.pods.objects.values()].find((pod) => pod.spec.nodeName === node && vmiUidOf(pod) === vmiUid)
