/** What each pod of a fenced node is, and so whether, when and on which proof it may be cleared (docs/failover.md, "Executing the fence"). Pure. */
import type { PersistentVolumeView, PodView, VirtualMachineInstanceView, VirtualMachineView } from '../../kubernetes/resources.ts'
import { fullName, optOutAnnotation, priorityAnnotation } from '../fence/names.ts'
import type { VolumeName } from '../fence/proofs.ts'
import { toleratesEverything, toleratesFence } from '../fence/taints.ts'
import type { FailoverConfig, PodSelector } from './config.ts'
import { type Snapshot, volumesByClaim } from './snapshot.ts'

/** Cleared in this order. `hotplug` pods are swept up last: their owner's garbage collection takes them. */
export type PodClass = 'control' | 'launcher' | 'migration-target' | 'stateful' | 'job' | 'other' | 'hotplug'

/** The least that must be proved before the pod may be cleared. */
export type ProofNeeded =
  /** Nothing of it can be harmed by a second copy. */
  | { readonly kind: 'none' }
  /** At most one may run, or it can write storage that DRBD does not freeze. */
  | { readonly kind: 'node'; readonly why: string }
  /** Its shared storage is DRBD alone: frozen storage is proof enough. */
  | { readonly kind: 'storage'; readonly resources: readonly string[] }

export interface ClassifiedPod {
  readonly pod: PodView
  readonly podClass: PodClass
  /** Why it is left alone, if it is. */
  readonly skipped: string | undefined
  /** It was opted out by a person, or is left alone for its tolerations and must not run twice: it is also made immune to Kubernetes' own eviction. */
  readonly isToStay: boolean
  readonly proofNeeded: ProofNeeded
  /** Shared volumes it can write: what the data gate is asked about. */
  readonly volumes: readonly VolumeName[]
  /** Claims that it can write and for which no volume is known: nobody can be asked about their data. */
  readonly unknownClaims: readonly string[]
  /** The instance it belongs to, for launchers, targets and hot-plug pods. */
  readonly vmi: VirtualMachineInstanceView | undefined
  readonly vm: VirtualMachineView | undefined
  readonly priority: number
  /** Place among the control pods; 0 for all others. */
  readonly controlRank: number
}

export function classifyPods(
  snapshot: Pick<Snapshot, 'pods' | 'vms' | 'vmis' | 'volumes'>,
  config: FailoverConfig,
): readonly ClassifiedPod[] {
  const vmiByUid = new Map([...snapshot.vmis.values()].map((vmi) => [vmi.uid, vmi]))
  const byClaim = volumesByClaim(snapshot)
  const podByUid = new Map(snapshot.pods.map((pod) => [pod.uid, pod]))
  // Whoever clears a launcher has its hot-plug pods cleared by their garbage collection: also those whose volume the instance just gave up.
  const attached = Map.groupBy(
    snapshot.pods.filter((pod) => pod.owner?.kind === 'Pod'),
    (pod) => pod.owner?.uid ?? '',
  )
  return snapshot.pods.map((pod) => {
    const owningPod = pod.owner?.kind === 'Pod' ? podByUid.get(pod.owner.uid) : pod
    const vmi = owningPod?.owner?.kind === 'VirtualMachineInstance' ? vmiByUid.get(owningPod.owner.uid) : undefined
    const vm = vmi === undefined ? undefined : snapshot.vms.get(fullName(vmi))
    const optedOut = [pod, vmi, vm].some((object) => isTrue(object?.annotations[optOutAnnotation]))
    const podClass = classOf(pod, vmi, config)
    const volumes = [pod, ...(attached.get(pod.uid) ?? [])].flatMap((one) => one.volumes)
    const storage = sharedStorage(pod.namespace, volumes, podClass === 'hotplug' ? undefined : vmi, byClaim)
    const needed = proofNeeded(pod, podClass, storage, config)
    const skipped = skipReason(pod, optedOut)
    return {
      pod,
      podClass,
      skipped,
      isToStay: optedOut || (needed.kind !== 'none' && skipped !== undefined && staysByTolerations(pod) === skipped),
      proofNeeded: needed,
      volumes: storage.volumes,
      unknownClaims: storage.unknown,
      vmi,
      vm,
      priority: priorityOf(pod, vmi, vm),
      controlRank: Math.max(
        0,
        config.controlPods.findIndex((selector) => matches(pod, selector)),
      ),
    }
  })
}

const isTrue = (value: string | undefined): boolean => value !== undefined && value !== 'false'

/** Why a pod is never touched, whoever asks. */
export function skipReason(pod: PodView, optedOut: boolean): string | undefined {
  if (pod.annotations['kubernetes.io/config.mirror'] !== undefined)
    return 'a static pod: its mirror in the API says nothing of it, and the kubelet makes it again'
  if (pod.owner?.kind === 'DaemonSet') return 'a DaemonSet pod: it belongs to its node'
  return staysByTolerations(pod) ?? (optedOut ? `opted out (${optOutAnnotation})` : undefined)
}

function staysByTolerations({ owner, tolerations }: PodView): string | undefined {
  // Never a launcher: its VM has nothing else that brings it back. And what hangs on a launcher goes with it.
  if (owner?.kind === 'VirtualMachineInstance' || owner?.kind === 'Pod') return undefined
  if (toleratesEverything(tolerations)) return 'it tolerates every taint: it is meant to stay on its node'
  // Cleared, it might come back to a dead node, again and again. What may run twice is left to Kubernetes' own eviction.
  if (toleratesFence(tolerations)) return 'it tolerates the taints of a fenced node: its replacement could be placed there again'
  return undefined
}

function classOf(pod: PodView, vmi: VirtualMachineInstanceView | undefined, config: FailoverConfig): PodClass {
  // KubeVirt copies a template's labels to the launcher: whatever they say, it is a VM, that runs once and has to be followed.
  if (pod.owner?.kind === 'VirtualMachineInstance')
    // The label of a migration stays on the pod after its end, so the instance's node decides.
    return vmi !== undefined && vmi.nodeName !== '' && vmi.nodeName !== pod.nodeName ? 'migration-target' : 'launcher'
  if (pod.owner?.kind === 'Pod') return 'hotplug'
  if (config.controlPods.some((selector) => matches(pod, selector))) return 'control'
  switch (pod.owner?.kind) {
    case 'StatefulSet':
      return 'stateful'
    case 'Job':
      return 'job'
    case undefined:
    default:
      if (pod.labels['kubevirt.io'] === 'hotplug-disk') return 'hotplug'
      return pod.volumes.some((volume) => !volume.readOnly) ? 'stateful' : 'other'
  }
}

function matches(pod: PodView, selector: PodSelector): boolean {
  if (selector.namespace !== undefined && selector.namespace !== pod.namespace) return false
  return Object.entries(selector.labels).every(([label, value]) =>
    value === '' ? pod.labels[label] !== undefined : pod.labels[label] === value,
  )
}

interface SharedStorage {
  readonly volumes: readonly VolumeName[]
  /** A claim whose volume could not be found: it might be anything. */
  readonly unknown: readonly string[]
}

function sharedStorage(
  namespace: string,
  podVolumes: PodView['volumes'],
  vmi: VirtualMachineInstanceView | undefined,
  byClaim: ReadonlyMap<string, readonly PersistentVolumeView[]>,
): SharedStorage {
  const volumes = new Map<string, VolumeName>()
  const unknown = new Set<string>()
  const addClaim = (claim: string): void => {
    const found = byClaim.get(`${namespace}/${claim}`)
    if (found === undefined) unknown.add(claim)
    for (const volume of found ?? [])
      if (!volume.isNodeLocal && !isReadOnly(volume))
        volumes.set(`${volume.driver} ${volume.handle || volume.name}`, { driver: volume.driver, handle: volume.handle })
  }
  for (const volume of podVolumes) {
    if (volume.readOnly) continue
    if (volume.kind === 'claim') addClaim(volume.claim)
    else volumes.set(`${volume.driver} inline`, { driver: volume.driver, handle: '' })
  }
  // Hot-plugged disks are claims of the instance, not of its launcher.
  for (const claim of vmi?.claims ?? []) addClaim(claim)
  return { volumes: [...volumes.values()], unknown: [...unknown] }
}

const isReadOnly = (volume: PersistentVolumeView): boolean =>
  volume.accessModes.length > 0 && volume.accessModes.every((mode) => mode === 'ReadOnlyMany')

/**
 * A pod without shared storage may be cleared on the fence alone, unless its name promises that there is one of it: StatefulSet pods and VMs.
 * Storage that cannot be looked up is taken for the worst.
 */
function proofNeeded(pod: PodView, podClass: PodClass, storage: SharedStorage, config: FailoverConfig): ProofNeeded {
  if (storage.unknown.length > 0) return { kind: 'node', why: `no volume is known for claim ${storage.unknown.join(', ')}` }
  const other = storage.volumes.find((volume) => !config.drbdDrivers.includes(volume.driver) || volume.handle === '')
  if (other !== undefined) return { kind: 'node', why: `its storage (${other.driver}) is not DRBD` }
  if (storage.volumes.length > 0) return { kind: 'storage', resources: storage.volumes.map((volume) => volume.handle).sort() }
  if (podClass === 'launcher' || podClass === 'migration-target')
    return { kind: 'node', why: 'a VM runs at most once, and this one has no storage that could be frozen' }
  if (pod.owner?.kind === 'StatefulSet') return { kind: 'node', why: 'a StatefulSet promises at most one pod of a name' }
  return { kind: 'none' }
}

/** Higher is earlier: the annotation on VM, instance or pod, else the pod's PriorityClass value. */
function priorityOf(pod: PodView, vmi: VirtualMachineInstanceView | undefined, vm: VirtualMachineView | undefined): number {
  for (const object of [vm, vmi, pod]) {
    const text = object?.annotations[priorityAnnotation]
    const value = text === undefined || text.trim() === '' ? Number.NaN : Number(text)
    if (Number.isFinite(value)) return value
  }
  return pod.priority
}
