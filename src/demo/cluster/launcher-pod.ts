/** The pods that virt-controller makes for an instance: launcher, migration target, attachment pod of hotplugged volumes (KubeVirt 1.9). */
import type { NodeAffinity, Pod, PodSpec, VirtualMachineInstance, VmiVolume } from './objects.ts'
import { quantity } from './placement.ts'

export const LAUNCHER_IMAGE = 'registry.example/kubevirt/virt-launcher:v1.9.0'
/** Memory of the launcher beside the guest's, as KubeVirt 1.9 counted it for a small amd64 guest. */
const OVERHEAD_MEBIBYTES = 268
const schedulable = { 'kubernetes.io/arch': 'amd64', 'kubevirt.io/schedulable': 'true', 'machine-type.node.kubevirt.io/q35': 'true' }

export const claimOf = (volume: VmiVolume): string | undefined => volume.persistentVolumeClaim?.claimName ?? volume.dataVolume?.name
export const isHotplugged = (volume: VmiVolume): boolean =>
  volume.persistentVolumeClaim?.hotpluggable === true || volume.dataVolume?.hotpluggable === true

function affinityOf(vmi: VirtualMachineInstance, notOnNode: string | undefined): NodeAffinity {
  const own = vmi.spec.affinity?.nodeAffinity
  const extra = [
    { key: 'node-labeller.kubevirt.io/obsolete-host-model', operator: 'DoesNotExist' as const },
    ...(notOnNode === undefined ? [] : [{ key: 'kubernetes.io/hostname', operator: 'NotIn' as const, values: [notOnNode] }]),
  ]
  const terms = own?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [{}]
  return {
    ...own,
    requiredDuringSchedulingIgnoredDuringExecution: {
      nodeSelectorTerms: terms.map((term) => ({ ...term, matchExpressions: [...(term.matchExpressions ?? []), ...extra] })),
    },
  }
}

export interface MigrationTarget {
  readonly uid: string
  readonly name: string
  readonly addedNodeSelector?: Record<string, string> | undefined
  readonly sourceNode: string | undefined
}

/** The launcher pod's manifest; with `migration` that of a migration's target. */
export function launcherPod(vmi: VirtualMachineInstance, migration?: MigrationTarget): object {
  const { name, namespace, uid, labels = {}, annotations = {} } = vmi.metadata
  const graceSeconds = (vmi.spec.terminationGracePeriodSeconds ?? 30) + 15
  const guestMebibytes = quantity(vmi.spec.domain.memory?.guest ?? '128Mi') / 2 ** 20
  const volumes = (vmi.spec.volumes ?? []).filter((volume) => !isHotplugged(volume))
  const claims = volumes.flatMap((volume) => {
    const claimName = claimOf(volume)
    return claimName === undefined ? [] : [{ name: volume.name, persistentVolumeClaim: { claimName } }]
  })
  const spec: PodSpec = {
    restartPolicy: 'Never',
    // The guest's grace, 15 s for the launcher and 15 s more for the pod.
    terminationGracePeriodSeconds: graceSeconds + 15,
    hostname: name,
    nodeSelector: { ...schedulable, ...vmi.spec.nodeSelector, ...migration?.addedNodeSelector },
    affinity: { nodeAffinity: affinityOf(vmi, migration?.sourceNode) },
    tolerations: vmi.spec.tolerations ?? [],
    readinessGates: migration === undefined ? [{ conditionType: 'kubevirt.io/virtual-machine-unpaused' }] : [],
    ...(vmi.spec.priorityClassName === undefined ? {} : { priorityClassName: vmi.spec.priorityClassName }),
    volumes: [
      { name: 'private', emptyDir: {} },
      { name: 'libvirt-runtime', emptyDir: {} },
      ...claims,
      { name: 'hotplug-disks', emptyDir: {} },
    ],
    containers: [
      {
        name: 'compute',
        image: LAUNCHER_IMAGE,
        command: [
          '/usr/bin/virt-launcher-monitor',
          '--name',
          name,
          '--uid',
          uid,
          '--namespace',
          namespace ?? '',
          '--grace-period-seconds',
          String(graceSeconds),
        ],
        resources: {
          limits: { 'devices.kubevirt.io/kvm': '1', 'devices.kubevirt.io/tun': '1', 'devices.kubevirt.io/vhost-net': '1' },
          requests: {
            cpu: `${(vmi.spec.domain.cpu?.cores ?? 1) * 100}m`,
            memory: `${guestMebibytes + OVERHEAD_MEBIBYTES}Mi`,
            'devices.kubevirt.io/kvm': '1',
            'devices.kubevirt.io/tun': '1',
            'devices.kubevirt.io/vhost-net': '1',
            'ephemeral-storage': '50M',
          },
        },
        volumeDevices: claims.map(({ name: volume }) => ({ name: volume, devicePath: `/dev/${volume}` })),
      },
    ],
  }
  return {
    metadata: {
      generateName: `virt-launcher-${name}-`,
      namespace,
      labels: {
        ...labels,
        'kubevirt.io': 'virt-launcher',
        'kubevirt.io/created-by': uid,
        'vm.kubevirt.io/name': name,
        'vmi.kubevirt.io/id': name,
        ...(migration === undefined ? {} : { 'kubevirt.io/migrationJobUID': migration.uid }),
      },
      annotations: {
        ...annotations,
        'descheduler.alpha.kubernetes.io/request-evict-only': '',
        'kubectl.kubernetes.io/default-container': 'compute',
        'kubevirt.io/domain': name,
        'kubevirt.io/migrationTransportUnix': 'true',
        ...(migration === undefined ? {} : { 'kubevirt.io/migrationJobName': migration.name }),
      },
      ownerReferences: [
        { apiVersion: 'kubevirt.io/v1', kind: 'VirtualMachineInstance', name, uid, controller: true, blockOwnerDeletion: true },
      ],
    },
    spec,
    status: { phase: 'Pending', qosClass: 'Burstable' },
  }
}

const nodePressure = ['disk-pressure', 'memory-pressure', 'network-unavailable', 'pid-pressure', 'unschedulable']

/** The pod that attaches a hotplugged volume to the launcher's node. It is owned by the launcher pod, and goes without grace. */
export function attachmentPod(launcher: Pod, volume: VmiVolume): object {
  const { name, namespace, uid } = launcher.metadata
  return {
    metadata: {
      generateName: 'hp-volume-',
      namespace,
      labels: { 'kubevirt.io': 'hotplug-disk' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name, uid, controller: true, blockOwnerDeletion: true }],
    },
    spec: {
      restartPolicy: 'Always',
      terminationGracePeriodSeconds: 0,
      affinity: {
        nodeAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: {
            nodeSelectorTerms: [
              { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [launcher.spec.nodeName ?? ''] }] },
            ],
          },
        },
      },
      tolerations: nodePressure.map((key) => ({ key: `node.kubernetes.io/${key}`, operator: 'Exists', effect: 'NoSchedule' })),
      volumes: [
        { name: 'hotplug-disks', emptyDir: {} },
        { name: volume.name, persistentVolumeClaim: { claimName: claimOf(volume) ?? '' } },
      ],
      containers: [
        {
          name: 'hotplug-disk',
          image: LAUNCHER_IMAGE,
          command: ['/bin/sh', '-c', '/usr/bin/container-disk --copy-path /path/hp'],
          resources: { limits: { cpu: '100m', memory: '80M' }, requests: { cpu: '10m', memory: '2M' } },
          volumeDevices: [{ name: volume.name, devicePath: `/path/${volume.name}` }],
        },
      ],
    } satisfies PodSpec,
  }
}
