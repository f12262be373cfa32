/** Paths of the objects we touch, and what we keep of each: a few fields, so that a room of thousands of pods stays small in memory. */
import { at, listAt, mapAt, numberAt, textAt, texts } from './reading.ts'
import { requestsOf } from './requests.ts'

export const paths = {
  nodes: '/api/v1/nodes',
  node: (name: string) => `/api/v1/nodes/${name}`,
  pods: '/api/v1/pods',
  pod: (namespace: string, name: string) => `/api/v1/namespaces/${namespace}/pods/${name}`,
  persistentVolumes: '/api/v1/persistentvolumes',
  leases: '/apis/coordination.k8s.io/v1/leases',
  lease: (namespace: string, name: string) => `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${name}`,
  volumeAttachments: '/apis/storage.k8s.io/v1/volumeattachments',
  events: (namespace: string) => `/apis/events.k8s.io/v1/namespaces/${namespace}/events`,
  fences: '/apis/roomfence.io/v1/fences',
  fence: (name: string) => `/apis/roomfence.io/v1/fences/${name}`,
  virtualMachines: '/apis/kubevirt.io/v1/virtualmachines',
  virtualMachine: (namespace: string, name: string) => `/apis/kubevirt.io/v1/namespaces/${namespace}/virtualmachines/${name}`,
  virtualMachineInstances: '/apis/kubevirt.io/v1/virtualmachineinstances',
  virtualMachineInstance: (namespace: string, name: string) =>
    `/apis/kubevirt.io/v1/namespaces/${namespace}/virtualmachineinstances/${name}`,
  startVirtualMachine: (namespace: string, name: string) =>
    `/apis/subresources.kubevirt.io/v1/namespaces/${namespace}/virtualmachines/${name}/start`,
} as const

export interface Taint {
  readonly key: string
  readonly value?: string
  readonly effect: string
  readonly timeAdded?: string
}

export interface Toleration {
  readonly key?: string
  readonly operator?: string
  readonly value?: string
  readonly effect?: string
  readonly tolerationSeconds?: number
}

interface Named {
  readonly uid: string
  readonly name: string
  readonly resourceVersion: string
}

interface Namespaced extends Named {
  readonly namespace: string
}

export interface NodeView extends Named {
  readonly labels: { readonly [key: string]: string }
  readonly annotations: { readonly [key: string]: string }
  readonly taints: readonly Taint[]
  readonly bootId: string
  readonly ready: boolean
  readonly allocatable: { readonly cpu: string; readonly memory: string; readonly pods: string }
}

export interface OwnerView {
  readonly kind: string
  readonly name: string
  readonly uid: string
}

/** A volume of a pod, as the pod names it: a claim, or storage named in the pod itself. */
export type PodVolume =
  | { readonly kind: 'claim'; readonly claim: string; readonly readOnly: boolean }
  | { readonly kind: 'inline'; readonly driver: string; readonly readOnly: boolean }

export interface PodView extends Namespaced {
  readonly nodeName: string
  readonly phase: string
  readonly labels: { readonly [key: string]: string }
  readonly annotations: { readonly [key: string]: string }
  /** The owner that controls it. */
  readonly owner: OwnerView | undefined
  readonly finalizers: readonly string[]
  readonly isTerminating: boolean
  /** 0 after a forced delete that finalizers hold up. */
  readonly deletionGracePeriodSeconds: number | undefined
  readonly tolerations: readonly Toleration[]
  readonly priority: number
  readonly volumes: readonly PodVolume[]
  readonly requests: { readonly cpuMilli: number; readonly memoryBytes: number }
  /** A container of it was ended by SIGKILL (exit code 137) and not for its memory: from outside, as containment does. */
  readonly wasKilled?: true
}

/** A pod that the scheduler has not given a node. */
export interface UnboundPodView extends Namespaced {
  readonly owner: OwnerView | undefined
  readonly createdAt: string
  readonly isTerminating: boolean
  /** Held back by a scheduling gate: the scheduler has not looked at it. */
  readonly isGated: boolean
  /** Why no node takes it, in the scheduler's words; undefined before it has tried. */
  readonly unschedulable: string | undefined
}

export interface PersistentVolumeView extends Named {
  /** The claim that has it. None of a `Released` one: it goes on naming the claim that it had, and another one of that name has another volume. */
  readonly claim: { readonly namespace: string; readonly name: string } | undefined
  readonly accessModes: readonly string[]
  /** CSI driver, or the kind of another source (`nfs`, `local`). */
  readonly driver: string
  /** `spec.csi.volumeHandle`: for LINSTOR the DRBD resource. Empty for other sources. */
  readonly handle: string
  /** On one node's own disk: no other node can ever write it. */
  readonly isNodeLocal: boolean
}

export interface VirtualMachineView extends Namespaced {
  readonly runStrategy: string
  readonly annotations: { readonly [key: string]: string }
  readonly isTerminating: boolean
  readonly printableStatus: string
  /** Queued actions: `Start`, `Stop`. */
  readonly stateChanges: readonly string[]
  readonly startFailure: { readonly count: number; readonly vmiUid: string; readonly retryAfter: string } | undefined
  readonly needsManualRecovery: boolean
}

export interface VirtualMachineInstanceView extends Namespaced {
  /** RFC 3339, whole seconds. */
  readonly createdAt: string
  readonly annotations: { readonly [key: string]: string }
  readonly owner: OwnerView | undefined
  readonly phase: string
  readonly nodeName: string
  readonly isTerminating: boolean
  /** Of all its volumes: hot-plugged ones, memory dumps and utility volumes too. */
  readonly claims: readonly string[]
  /** The reason that its pod finds no node, when KubeVirt says so (`Unschedulable: 0/3 nodes ...`). */
  readonly unschedulable: string | undefined
}

export interface VolumeAttachmentView extends Named {
  readonly attacher: string
  readonly nodeName: string
  readonly persistentVolume: string
  readonly isTerminating: boolean
  readonly finalizers: readonly string[]
}

export interface LeaseView extends Namespaced {
  readonly holder: string
  readonly renewTime: string
}

const named = (object: unknown): Named => ({
  uid: textAt(object, 'metadata', 'uid'),
  name: textAt(object, 'metadata', 'name'),
  resourceVersion: textAt(object, 'metadata', 'resourceVersion'),
})
const namespaced = (object: unknown): Namespaced => ({ ...named(object), namespace: textAt(object, 'metadata', 'namespace') })
const isTerminating = (object: unknown): boolean => textAt(object, 'metadata', 'deletionTimestamp') !== ''
const controllerOf = (object: unknown): OwnerView | undefined => {
  const owner = listAt(object, 'metadata', 'ownerReferences').find((reference) => at(reference, 'controller') === true)
  return owner === undefined ? undefined : { kind: textAt(owner, 'kind'), name: textAt(owner, 'name'), uid: textAt(owner, 'uid') }
}

/** Our own annotations only (`roomfence.io/...`) and the few of others we read: annotations can be a quarter of a megabyte. */
const annotationsOf = (object: unknown): { readonly [key: string]: string } =>
  Object.fromEntries(
    Object.entries(mapAt(object, 'metadata', 'annotations')).filter(
      ([key]) => key.startsWith('roomfence.io/') || key === 'kubernetes.io/config.mirror',
    ),
  )

export function nodeView(object: unknown): NodeView {
  const ready = listAt(object, 'status', 'conditions').find((condition) => textAt(condition, 'type') === 'Ready')
  return {
    ...named(object),
    labels: mapAt(object, 'metadata', 'labels'),
    annotations: annotationsOf(object),
    taints: listAt(object, 'spec', 'taints') as readonly Taint[],
    bootId: textAt(object, 'status', 'nodeInfo', 'bootID'),
    ready: textAt(ready, 'status') === 'True',
    allocatable: {
      cpu: textAt(object, 'status', 'allocatable', 'cpu'),
      memory: textAt(object, 'status', 'allocatable', 'memory'),
      pods: textAt(object, 'status', 'allocatable', 'pods'),
    },
  }
}

/** Volume sources in a pod that are storage shared over the network. A CSI volume named in a pod is made for that pod alone. */
const networkSources = [
  'nfs',
  'iscsi',
  'rbd',
  'cephfs',
  'fc',
  'glusterfs',
  'azureDisk',
  'azureFile',
  'awsElasticBlockStore',
  'gcePersistentDisk',
  'cinder',
  'portworxVolume',
  'quobyte',
  'scaleIO',
  'storageos',
  'vsphereVolume',
  'flexVolume',
  'flocker',
] as const

export function podView(object: unknown): PodView {
  const name = textAt(object, 'metadata', 'name')
  const volumes: PodVolume[] = []
  for (const volume of listAt(object, 'spec', 'volumes')) {
    const claim = textAt(volume, 'persistentVolumeClaim', 'claimName')
    if (claim !== '') volumes.push({ kind: 'claim', claim, readOnly: at(volume, 'persistentVolumeClaim', 'readOnly') === true })
    else if (at(volume, 'ephemeral') !== undefined)
      volumes.push({ kind: 'claim', claim: `${name}-${textAt(volume, 'name')}`, readOnly: false })
    else {
      const source = networkSources.find((kind) => at(volume, kind) !== undefined)
      if (source !== undefined) volumes.push({ kind: 'inline', driver: source, readOnly: at(volume, source, 'readOnly') === true })
    }
  }
  return {
    ...namespaced(object),
    nodeName: textAt(object, 'spec', 'nodeName'),
    phase: textAt(object, 'status', 'phase'),
    labels: mapAt(object, 'metadata', 'labels'),
    annotations: annotationsOf(object),
    owner: controllerOf(object),
    finalizers: texts(listAt(object, 'metadata', 'finalizers')),
    isTerminating: isTerminating(object),
    deletionGracePeriodSeconds: numberAt(object, 'metadata', 'deletionGracePeriodSeconds'),
    tolerations: listAt(object, 'spec', 'tolerations') as readonly Toleration[],
    priority: numberAt(object, 'spec', 'priority') ?? 0,
    volumes,
    requests: requestsOf(object),
    ...(wasKilled(object) ? { wasKilled: true } : {}),
  }
}

const wasKilled = (object: unknown): boolean =>
  listAt(object, 'status', 'containerStatuses').some((status) => {
    const ended = at(status, 'state', 'terminated')
    return numberAt(ended, 'exitCode') === 137 && textAt(ended, 'reason') !== 'OOMKilled'
  })

/** Of the condition PodScheduled, which KubeVirt copies to its instances: `0/4 nodes are available: ...`. */
function unschedulable(object: unknown): string | undefined {
  const scheduled = listAt(object, 'status', 'conditions').find((condition) => textAt(condition, 'type') === 'PodScheduled')
  return textAt(scheduled, 'status') === 'False' && textAt(scheduled, 'reason') === 'Unschedulable'
    ? textAt(scheduled, 'message')
    : undefined
}

export const unboundPodView = (object: unknown): UnboundPodView => ({
  ...namespaced(object),
  owner: controllerOf(object),
  createdAt: textAt(object, 'metadata', 'creationTimestamp'),
  isTerminating: isTerminating(object),
  isGated: listAt(object, 'spec', 'schedulingGates').length > 0,
  unschedulable: unschedulable(object),
})

export function persistentVolumeView(object: unknown): PersistentVolumeView {
  const claim = textAt(object, 'status', 'phase') === 'Bound' ? textAt(object, 'spec', 'claimRef', 'name') : ''
  const driver = textAt(object, 'spec', 'csi', 'driver')
  const isNodeLocal = at(object, 'spec', 'local') !== undefined || at(object, 'spec', 'hostPath') !== undefined
  const otherSource = [...networkSources, 'local', 'hostPath'].find((kind) => at(object, 'spec', kind) !== undefined)
  return {
    ...named(object),
    claim: claim === '' ? undefined : { namespace: textAt(object, 'spec', 'claimRef', 'namespace'), name: claim },
    accessModes: texts(listAt(object, 'spec', 'accessModes')),
    driver: driver === '' ? (otherSource ?? 'unknown') : driver,
    handle: textAt(object, 'spec', 'csi', 'volumeHandle'),
    isNodeLocal,
  }
}

export function virtualMachineView(object: unknown): VirtualMachineView {
  const failure = at(object, 'status', 'startFailure')
  const running = at(object, 'spec', 'running')
  const strategy = textAt(object, 'spec', 'runStrategy')
  return {
    ...namespaced(object),
    runStrategy: strategy === '' ? (running === true ? 'Always' : 'Halted') : strategy,
    annotations: annotationsOf(object),
    isTerminating: isTerminating(object),
    printableStatus: textAt(object, 'status', 'printableStatus'),
    stateChanges: listAt(object, 'status', 'stateChangeRequests').map((request) => textAt(request, 'action')),
    startFailure:
      failure === undefined || failure === null
        ? undefined
        : {
            count: numberAt(failure, 'consecutiveFailCount') ?? 0,
            vmiUid: textAt(failure, 'lastFailedVMIUID'),
            retryAfter: textAt(failure, 'retryAfterTimestamp'),
          },
    needsManualRecovery: listAt(object, 'status', 'conditions').some(
      (condition) => textAt(condition, 'type') === 'ManualRecoveryRequired' && textAt(condition, 'status') === 'True',
    ),
  }
}

export function virtualMachineInstanceView(object: unknown): VirtualMachineInstanceView {
  const claims = [
    ...listAt(object, 'spec', 'volumes').flatMap((volume) => [
      textAt(volume, 'persistentVolumeClaim', 'claimName'),
      textAt(volume, 'dataVolume', 'name'),
      textAt(volume, 'memoryDump', 'claimName'),
    ]),
    ...listAt(object, 'spec', 'utilityVolumes').map((volume) => textAt(volume, 'claimName')),
  ]
  return {
    ...namespaced(object),
    createdAt: textAt(object, 'metadata', 'creationTimestamp'),
    annotations: annotationsOf(object),
    owner: controllerOf(object),
    phase: textAt(object, 'status', 'phase'),
    nodeName: textAt(object, 'status', 'nodeName'),
    isTerminating: isTerminating(object),
    claims: claims.filter((claim) => claim !== ''),
    unschedulable: unschedulable(object),
  }
}

export function volumeAttachmentView(object: unknown): VolumeAttachmentView {
  return {
    ...named(object),
    attacher: textAt(object, 'spec', 'attacher'),
    nodeName: textAt(object, 'spec', 'nodeName'),
    persistentVolume: textAt(object, 'spec', 'source', 'persistentVolumeName'),
    isTerminating: isTerminating(object),
    finalizers: texts(listAt(object, 'metadata', 'finalizers')),
  }
}

export function leaseView(object: unknown): LeaseView {
  return { ...namespaced(object), holder: textAt(object, 'spec', 'holderIdentity'), renewTime: textAt(object, 'spec', 'renewTime') }
}
