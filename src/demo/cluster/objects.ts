/** The fields of cluster objects that the stand-in controllers read and write, typed; and how they change one in the store. */
import type { KubeObject, Store } from '../apiserver/store.ts'

export interface Condition {
  type: string
  status: 'True' | 'False' | 'Unknown'
  reason?: string
  message?: string
  lastTransitionTime?: string | null
  lastHeartbeatTime?: string
  lastProbeTime?: string | null
}
export interface OwnerReference {
  apiVersion: string
  kind: string
  name: string
  uid: string
  controller?: boolean
  blockOwnerDeletion?: boolean
}
export interface Taint {
  key: string
  value?: string
  effect: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute'
  timeAdded?: string
}
export interface Toleration {
  key?: string
  operator?: 'Exists' | 'Equal'
  value?: string
  effect?: string
  tolerationSeconds?: number
}
export interface SelectorRequirement {
  key: string
  operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist' | 'Gt' | 'Lt'
  values?: string[]
}
export interface SelectorTerm {
  matchExpressions?: SelectorRequirement[]
  matchFields?: SelectorRequirement[]
}
export interface NodeAffinity {
  requiredDuringSchedulingIgnoredDuringExecution?: { nodeSelectorTerms: SelectorTerm[] }
  preferredDuringSchedulingIgnoredDuringExecution?: { weight: number; preference: SelectorTerm }[]
}
export interface Container {
  name: string
  image?: string
  command?: string[]
  resources?: { requests?: Record<string, string>; limits?: Record<string, string> }
  volumeDevices?: { name: string; devicePath: string }[]
}
export interface PodSpec {
  nodeName?: string
  nodeSelector?: Record<string, string>
  affinity?: { nodeAffinity?: NodeAffinity }
  tolerations?: Toleration[]
  containers: Container[]
  volumes?: { name: string; persistentVolumeClaim?: { claimName: string }; emptyDir?: object }[]
  restartPolicy?: 'Always' | 'OnFailure' | 'Never'
  terminationGracePeriodSeconds?: number
  priorityClassName?: string
  priority?: number
  hostname?: string
  readinessGates?: { conditionType: string }[]
}
export interface Pod extends KubeObject {
  spec: PodSpec
  status?: {
    phase?: 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown'
    reason?: string
    message?: string
    conditions?: Condition[]
    podIP?: string
    podIPs?: { ip: string }[]
    hostIP?: string
    startTime?: string
    qosClass?: string
    containerStatuses?: Record<string, unknown>[]
  }
}
export interface Node extends KubeObject {
  spec: { taints?: Taint[]; unschedulable?: boolean }
  status?: {
    conditions?: Condition[]
    allocatable?: Record<string, string>
    capacity?: Record<string, string>
    addresses?: { type: string; address: string }[]
    nodeInfo?: Record<string, string>
    volumesInUse?: string[]
    volumesAttached?: { name: string; devicePath: string }[]
  }
}
export interface Lease extends KubeObject {
  spec: { holderIdentity?: string; leaseDurationSeconds?: number; renewTime?: string; acquireTime?: string; leaseTransitions?: number }
}
export interface PersistentVolume extends KubeObject {
  spec: {
    accessModes?: string[]
    csi?: { driver: string; volumeHandle: string }
    claimRef?: { namespace: string; name: string; uid?: string }
    nodeAffinity?: { required?: { nodeSelectorTerms: SelectorTerm[] } }
  }
  status?: { phase?: string }
}
export interface PersistentVolumeClaim extends KubeObject {
  spec: { volumeName?: string; accessModes?: string[]; volumeMode?: string; resources?: { requests?: Record<string, string> } }
  status?: { phase?: string }
}
export interface VolumeAttachment extends KubeObject {
  spec: { attacher: string; nodeName: string; source: { persistentVolumeName?: string } }
  status?: { attached: boolean }
}
export interface PodTemplate {
  metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> }
  spec: PodSpec
}
export interface Workload extends KubeObject {
  spec: {
    replicas?: number
    completions?: number
    backoffLimit?: number
    podManagementPolicy?: 'OrderedReady' | 'Parallel'
    podReplacementPolicy?: 'TerminatingOrFailed' | 'Failed'
    podFailurePolicy?: { rules: { action: string; onPodConditions?: { type: string; status?: string }[] }[] }
    selector?: { matchLabels?: Record<string, string> }
    template: PodTemplate
    volumeClaimTemplates?: { metadata: { name: string } }[]
  }
  status?: Record<string, unknown>
}

/** ---- KubeVirt (kubevirt.io/v1) */
export type RunStrategy = 'Always' | 'RerunOnFailure' | 'Manual' | 'Once' | 'Halted' | 'WaitAsReceiver'
/** What virt-api's start, restart and stop subresources queue in `VirtualMachine.status.stateChangeRequests`. */
export interface StateChangeRequest {
  action: 'Start' | 'Stop'
  uid?: string
  data?: Record<string, string>
}
export interface VmiVolume {
  name: string
  persistentVolumeClaim?: { claimName: string; hotpluggable?: boolean }
  dataVolume?: { name: string; hotpluggable?: boolean }
}
export interface VmiSpec {
  terminationGracePeriodSeconds?: number
  affinity?: { nodeAffinity?: NodeAffinity }
  nodeSelector?: Record<string, string>
  tolerations?: Toleration[]
  priorityClassName?: string
  evictionStrategy?: string
  domain: { cpu?: { cores?: number }; memory?: { guest?: string }; [field: string]: unknown }
  networks?: object[]
  volumes?: VmiVolume[]
}
export interface VirtualMachine extends KubeObject {
  spec: {
    runStrategy?: RunStrategy
    running?: boolean
    template: { metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> }; spec: VmiSpec }
  }
  status?: {
    created?: boolean
    ready?: boolean
    printableStatus?: string
    runStrategy?: RunStrategy
    observedGeneration?: number
    desiredGeneration?: number
    conditions?: Condition[]
    stateChangeRequests?: StateChangeRequest[]
    startFailure?: { consecutiveFailCount: number; lastFailedVMIUID?: string; retryAfterTimestamp?: string }
  }
}
export type VmiPhase = 'Pending' | 'Scheduling' | 'Scheduled' | 'Running' | 'Succeeded' | 'Failed' | 'WaitingForSync' | 'Unknown'
export interface MigrationState {
  migrationUid: string
  sourceNode?: string
  sourcePod?: string
  targetNode?: string
  targetPod?: string
  targetNodeAddress?: string
  startTimestamp?: string
  endTimestamp?: string
  completed?: boolean
  failed?: boolean
  failureReason?: string
  mode?: string
}
export interface VolumeStatus {
  name: string
  target?: string
  phase?: string
  reason?: string
  message?: string
  hotplugVolume?: { attachPodName?: string; attachPodUID?: string }
}
export interface VirtualMachineInstance extends KubeObject {
  spec: VmiSpec
  status?: {
    phase?: VmiPhase
    reason?: string
    nodeName?: string
    activePods?: Record<string, string>
    conditions?: Condition[]
    phaseTransitionTimestamps?: { phase: VmiPhase; phaseTransitionTimestamp: string }[]
    launcherContainerImageVersion?: string
    migrationState?: MigrationState
    volumeStatus?: VolumeStatus[]
    interfaces?: object[]
    guestOSInfo?: object
    migrationMethod?: string
    qosClass?: string
    runtimeUser?: number
  }
}
export type MigrationPhase = 'Pending' | 'Scheduling' | 'Scheduled' | 'PreparingTarget' | 'TargetReady' | 'Running' | 'Succeeded' | 'Failed'
export interface Migration extends KubeObject {
  spec: { vmiName: string; addedNodeSelector?: Record<string, string> }
  status?: {
    phase?: MigrationPhase
    phaseTransitionTimestamps?: { phase: MigrationPhase; phaseTransitionTimestamp: string }[]
    migrationState?: Partial<MigrationState>
  }
}

/** A VirtualMachineInstanceReplicaSet (`template`) or a VirtualMachinePool (`virtualMachineTemplate`). */
export interface VmSet extends KubeObject {
  spec: {
    replicas?: number
    selector?: object
    template?: { metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> }; spec: VmiSpec }
    virtualMachineTemplate?: {
      metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> }
      spec: VirtualMachine['spec']
    }
  }
  status?: Record<string, unknown>
}

/** Plural of each kind, with the type that the store's objects of it have. */
export interface KindByPlural {
  pods: Pod
  nodes: Node
  leases: Lease
  persistentvolumes: PersistentVolume
  persistentvolumeclaims: PersistentVolumeClaim
  volumeattachments: VolumeAttachment
  priorityclasses: KubeObject & { value?: number; globalDefault?: boolean }
  deployments: Workload
  replicasets: Workload
  statefulsets: Workload
  daemonsets: Workload
  jobs: Workload
  virtualmachines: VirtualMachine
  virtualmachineinstances: VirtualMachineInstance
  virtualmachineinstancemigrations: Migration
  virtualmachineinstancereplicasets: VmSet
  virtualmachinepools: VmSet
}
export type Plural = keyof KindByPlural

/** Reads one object as its type. What is stored was validated on its way in, so the stand-ins believe its shape. */
export function read<P extends Plural>(store: Store, plural: P, namespace: string | undefined, name: string): KindByPlural[P] | undefined {
  return store.get(plural, namespace, name) as KindByPlural[P] | undefined
}

export function readAll<P extends Plural>(store: Store, plural: P, namespace?: string): readonly KindByPlural[P][] {
  return store.list(plural, namespace) as readonly KindByPlural[P][]
}

const text = (value: unknown): string => JSON.stringify(value) ?? ''
const withoutStatus = (object: KubeObject): string =>
  text({ ...object, status: undefined, metadata: { ...object.metadata, resourceVersion: '' } })

/**
 * Changes the newest version of an object, and writes only what changed: the object, then its status if that is a subresource.
 * Without `uid` the object of that name is changed, whichever it is.
 *
 * @returns the object as it is now, or undefined if there is none (of that uid).
 */
export function amend<P extends Plural>(
  store: Store,
  plural: P,
  target: { namespace?: string | undefined; name: string; uid?: string | undefined },
  change: (object: KindByPlural[P]) => void,
): KindByPlural[P] | undefined {
  const before = read(store, plural, target.namespace, target.name)
  if (before === undefined || (target.uid !== undefined && before.metadata.uid !== target.uid)) return undefined
  const wanted = structuredClone(before)
  change(wanted)
  let current: KubeObject = before
  if (withoutStatus(wanted) !== withoutStatus(before)) {
    current = store.update(plural, wanted)
    // A finalizer's removal may have been the end of it.
    if (store.get(plural, target.namespace, target.name)?.metadata.uid !== before.metadata.uid) return undefined
  }
  if (text(wanted['status']) !== text(current['status'])) {
    const { resourceVersion } = current.metadata
    const withStatus = { ...structuredClone(current), status: wanted['status'] } as KubeObject
    withStatus.metadata.resourceVersion = resourceVersion
    current = store.update(plural, withStatus, 'status')
  }
  return current as KindByPlural[P]
}

export const locationOf = (object: KubeObject): { namespace: string | undefined; name: string; uid: string } => ({
  namespace: object.metadata.namespace,
  name: object.metadata.name,
  uid: object.metadata.uid,
})

export const keyOf = (object: KubeObject): string => `${object.metadata.namespace ?? ''}/${object.metadata.name}`

export function splitKey(key: string): { namespace: string; name: string } {
  const slash = key.indexOf('/')
  return { namespace: key.slice(0, slash), name: key.slice(slash + 1) }
}

export const controllerOf = (object: KubeObject): OwnerReference | undefined =>
  object.metadata.ownerReferences?.find(({ controller }) => controller === true)

/** The reference with which a controller owns what it makes. */
export const ownedBy = ({ apiVersion, kind, metadata: { name, uid } }: KubeObject): OwnerReference => ({
  apiVersion,
  kind,
  name,
  uid,
  controller: true,
  blockOwnerDeletion: true,
})

export const conditionOf = (object: { status?: { conditions?: Condition[] } }, type: string): Condition | undefined =>
  object.status?.conditions?.find((condition) => condition.type === type)

export const isReady = (object: { status?: { conditions?: Condition[] } }): boolean => conditionOf(object, 'Ready')?.status === 'True'

/** Puts a condition in, keeping its place and, while its status stays, its transition time. */
export function withCondition(conditions: readonly Condition[] | undefined, next: Condition, now: string): Condition[] {
  const previous = conditions?.find(({ type }) => type === next.type)
  const isSame = previous?.status === next.status && previous.reason === next.reason
  const dated = { ...next, lastTransitionTime: isSame ? (previous.lastTransitionTime ?? now) : now }
  if (previous === undefined) return [...(conditions ?? []), dated]
  return (conditions ?? []).map((condition) => (condition.type === next.type ? dated : condition))
}

export const isPodFinal = (pod: Pod): boolean => pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed'
export const isTerminating = (object: KubeObject): boolean => object.metadata.deletionTimestamp !== undefined
export const isVmiFinal = (vmi: VirtualMachineInstance): boolean => vmi.status?.phase === 'Succeeded' || vmi.status?.phase === 'Failed'

const OUT_OF_SERVICE_KEY = 'node.kubernetes.io/out-of-service'
/** As podgc and attach-detach look at it: by key alone, whatever the value and effect (gc_controller.go, reconciler.go). */
export const isOutOfService = (node: Node): boolean => (node.spec.taints ?? []).some(({ key }) => key === OUT_OF_SERVICE_KEY)

/** The claims of a pod that are bound to a CSI volume. */
export function csiVolumesOf(store: Store, pod: Pod): PersistentVolume[] {
  const volumes: PersistentVolume[] = []
  for (const { persistentVolumeClaim } of pod.spec.volumes ?? []) {
    if (persistentVolumeClaim === undefined) continue
    const claim = read(store, 'persistentvolumeclaims', pod.metadata.namespace, persistentVolumeClaim.claimName)
    const volume = claim?.spec.volumeName === undefined ? undefined : read(store, 'persistentvolumes', undefined, claim.spec.volumeName)
    if (volume?.spec.csi !== undefined) volumes.push(volume)
  }
  return volumes
}

/** As node.status.volumesAttached and volumesInUse name a CSI volume. */
export const uniqueVolumeName = (volume: PersistentVolume): string =>
  `kubernetes.io/csi/${volume.spec.csi?.driver ?? ''}^${volume.spec.csi?.volumeHandle ?? ''}`
