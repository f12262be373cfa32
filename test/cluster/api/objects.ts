/** The few fields of API objects that the fake nodes and the tests look at. Sources: core/v1, storage.k8s.io/v1, kubevirt.io/v1. */
import type { ApiObject } from '../../support/api-client.ts'

export interface Container {
  readonly name: string
  readonly image: string
  readonly restartPolicy?: string
}

export interface Pod extends ApiObject {
  readonly spec: {
    readonly nodeName?: string
    readonly restartPolicy?: string
    readonly containers: readonly Container[]
    readonly initContainers?: readonly Container[]
    readonly volumes?: readonly { readonly name: string; readonly persistentVolumeClaim?: { readonly claimName: string } }[]
  }
  readonly status: {
    readonly phase?: string
    readonly podIP?: string
    readonly conditions?: readonly Condition[]
  }
}

interface Condition {
  readonly type: string
  readonly status: string
  readonly reason?: string
}

interface Taint {
  readonly key: string
  readonly value?: string
  readonly effect: string
}

export interface Node extends ApiObject {
  readonly spec: { readonly taints?: readonly Taint[]; readonly unschedulable?: boolean }
  readonly status: {
    readonly conditions?: readonly Condition[]
    readonly volumesAttached?: readonly { readonly name: string }[]
    readonly nodeInfo?: { readonly bootID: string }
  }
}

export interface PersistentVolume extends ApiObject {
  readonly spec: { readonly volumeMode?: 'Block' | 'Filesystem'; readonly csi?: { readonly driver: string; readonly volumeHandle: string } }
}

export interface PersistentVolumeClaim extends ApiObject {
  readonly spec: { readonly volumeName: string }
}

export interface VolumeAttachment extends ApiObject {
  readonly spec: { readonly attacher: string; readonly nodeName: string; readonly source: { readonly persistentVolumeName: string } }
  readonly status?: { readonly attached: boolean }
}

export interface Lease extends ApiObject {
  readonly spec: { readonly holderIdentity?: string; readonly renewTime?: string }
}

export interface MigrationState {
  migrationUid?: string
  targetNode?: string
  targetNodeAddress?: string
  targetDirectMigrationNodePorts?: Record<string, number>
  startTimestamp?: string
  endTimestamp?: string
  mode?: string
  completed?: boolean
  targetNodeDomainDetected?: boolean
  targetNodeDomainReadyTimestamp?: string
}

interface VolumeStatus {
  name: string
  phase?: string
  message?: string
  reason?: string
  target?: string
  hotplugVolume?: { attachPodUID?: string }
}

/** What virt-handler writes of a VirtualMachineInstance's status; mutable, since it replaces the whole object. */
export interface VmiStatus {
  phase?: string
  reason?: string
  nodeName?: string
  conditions?: { type: string; status: string; lastProbeTime?: string | null; lastTransitionTime?: string | null }[]
  phaseTransitionTimestamps?: { phase: string; phaseTransitionTimestamp: string }[]
  migrationState?: MigrationState
  migrationMethod?: string
  volumeStatus?: VolumeStatus[]
  [field: string]: unknown
}

export interface VirtualMachineInstance extends ApiObject {
  readonly metadata: ApiObject['metadata'] & { labels?: Record<string, string> }
  readonly status: VmiStatus
}

export interface VirtualMachine extends ApiObject {
  readonly spec: { readonly runStrategy?: string }
  readonly status?: { readonly printableStatus?: string; readonly ready?: boolean; readonly startFailure?: unknown }
}

/** RFC 3339 in whole seconds, as metav1.Time. */
export const wholeSecond = (date: Date = new Date()): string => date.toISOString().replace(/\.\d+Z$/, 'Z')
/** RFC 3339 in microseconds, as metav1.MicroTime. */
export const microsecond = (date: Date = new Date()): string => date.toISOString().replace(/(\.\d{3})Z$/, '$1000Z')

export const podsPath = (namespace?: string, name?: string): string =>
  namespace === undefined ? '/api/v1/pods' : `/api/v1/namespaces/${namespace}/pods${name === undefined ? '' : `/${name}`}`
export const nodesPath = (name?: string): string => `/api/v1/nodes${name === undefined ? '' : `/${name}`}`
export const attachmentsPath = (name?: string): string => `/apis/storage.k8s.io/v1/volumeattachments${name === undefined ? '' : `/${name}`}`

const kubevirtPath = (plural: string, namespace?: string, name?: string): string =>
  `/apis/kubevirt.io/v1${namespace === undefined ? '' : `/namespaces/${namespace}`}/${plural}${name === undefined ? '' : `/${name}`}`
export const vmsPath = (namespace?: string, name?: string): string => kubevirtPath('virtualmachines', namespace, name)
export const vmisPath = (namespace?: string, name?: string): string => kubevirtPath('virtualmachineinstances', namespace, name)
/** `PUT` with `{}`; answers 202. */
export const vmVerbPath = (namespace: string, name: string, verb: 'start' | 'stop' | 'restart'): string =>
  `/apis/subresources.kubevirt.io/v1/namespaces/${namespace}/virtualmachines/${name}/${verb}`
