/** The fake kubelet: registers its node, renews its Lease, reports status, starts and stops the pods that are bound to it. */
import { isApiError } from '../../support/api-client.ts'
import {
  type Container,
  microsecond,
  nodesPath,
  type PersistentVolume,
  type PersistentVolumeClaim,
  type Pod,
  podsPath,
  wholeSecond,
} from '../api/objects.ts'
import { sleep } from '../../support/timing.ts'
import { isAttached, persistentVolume, volumeName } from './csi-attacher.ts'
import { attempt, type FakeNode, isFinished, logged, type NodeSetting, podOfVmi, thisLife, vmiUidOf } from './setting.ts'
import { syncVmi, updateVmi } from './virt-handler.ts'

const capacity = {
  cpu: '32',
  memory: '256Gi',
  pods: '250',
  'ephemeral-storage': '500Gi',
  'devices.kubevirt.io/kvm': '1k',
  'devices.kubevirt.io/tun': '1k',
  'devices.kubevirt.io/vhost-net': '1k',
}

/** A part of what virt-handler's node-labeller finds out about the processor. */
const kubevirtLabels = {
  'kubevirt.io/schedulable': 'true',
  'machine-type.node.kubevirt.io/q35': 'true',
  'machine-type.node.kubevirt.io/pc-q35-rhel9.6.0': 'true',
  'cpu-vendor.node.kubevirt.io/Intel': 'true',
  'cpu-model.node.kubevirt.io/Skylake-Server': 'true',
  'cpu-model-migration.node.kubevirt.io/Skylake-Server': 'true',
  'host-model-cpu.node.kubevirt.io/Skylake-Server': 'true',
}

export const registerNode = async ({ client, roomLabel, hasKubeVirt, driver }: NodeSetting, node: FakeNode): Promise<void> => {
  const labels = {
    'kubernetes.io/hostname': node.name,
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': 'amd64',
    [roomLabel]: node.room,
    ...(hasKubeVirt ? kubevirtLabels : {}),
  }
  // without the first the attach-detach controller leaves the node alone
  const annotations = { 'volumes.kubernetes.io/controller-managed-attach-detach': 'true', 'node.alpha.kubernetes.io/ttl': '0' }
  try {
    await client.create(nodesPath(), { metadata: { name: node.name, labels, annotations } })
  } catch (error) {
    if (!isApiError(error, 409)) throw error
    await client.patch(nodesPath(node.name), { metadata: { labels, annotations } })
  }
  node.uid = (await client.get(nodesPath(node.name))).metadata.uid
  const owner = { apiVersion: 'v1', kind: 'Node', name: node.name, uid: node.uid }
  const csiNode = {
    metadata: { name: node.name, ownerReferences: [owner] },
    spec: { drivers: [{ name: driver, nodeID: node.name, topologyKeys: [] }] },
  }
  try {
    await client.create('/apis/storage.k8s.io/v1/csinodes', csiNode)
  } catch (error) {
    if (!isApiError(error, 409)) throw error
  }
}

/** Reports when the volumes in use changed, when the last report is old, or when `isForced`. */
export const reportStatus = async ({ client, timings }: NodeSetting, node: FakeNode, isForced = false): Promise<void> => {
  const inUse = [...node.running.values()].flatMap(({ volumes }) => volumes)
  const volumesInUse = [...new Set([...inUse, ...[...node.starting.values()].flat()])].sort()
  const volumes = JSON.stringify(volumesInUse)
  if (!isForced && volumes === node.reportedVolumes && performance.now() - node.reportedAtMs < timings.reportMs) return
  const now = wholeSecond()
  if (isForced || node.readyAt === '') node.readyAt = now
  const condition = (type: string, status: string, reason: string): object => ({
    type,
    status,
    reason,
    message: 'fake kubelet',
    lastHeartbeatTime: now,
    lastTransitionTime: node.readyAt,
  })
  const status = {
    capacity,
    allocatable: capacity,
    addresses: [
      { type: 'InternalIP', address: `127.0.${node.index}.1` },
      { type: 'Hostname', address: node.name },
    ],
    nodeInfo: {
      machineID: node.name,
      systemUUID: node.name,
      bootID: node.bootId,
      kernelVersion: '6.1',
      osImage: 'fake',
      containerRuntimeVersion: 'fake://1',
      kubeletVersion: 'v1.36.2',
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: 'amd64',
    },
    volumesInUse,
    conditions: [
      condition('MemoryPressure', 'False', 'KubeletHasSufficientMemory'),
      condition('DiskPressure', 'False', 'KubeletHasNoDiskPressure'),
      condition('PIDPressure', 'False', 'KubeletHasSufficientPID'),
      condition('Ready', 'True', 'KubeletReady'),
    ],
  }
  await client.patch(`${nodesPath(node.name)}/status`, { status }, 'strategic-merge-patch')
  node.reportedVolumes = volumes
  node.reportedAtMs = performance.now()
}

export const renewLease = async ({ client }: NodeSetting, node: FakeNode): Promise<void> => {
  const path = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases'
  const spec = { holderIdentity: node.name, leaseDurationSeconds: 40, renewTime: microsecond() }
  try {
    await client.patch(`${path}/${node.name}`, { spec })
  } catch (error) {
    if (!isApiError(error, 404)) throw error
    const owner = { apiVersion: 'v1', kind: 'Node', name: node.name, uid: node.uid }
    await client.create(path, { metadata: { name: node.name, namespace: 'kube-node-lease', ownerReferences: [owner] }, spec })
  }
}

const volumesOf = async (setting: NodeSetting, pod: Pod): Promise<readonly PersistentVolume[]> => {
  const claims = (pod.spec.volumes ?? []).flatMap(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName ?? [])
  const volumes = claims.map(async (claim) => {
    const { spec } = await setting.client.get<PersistentVolumeClaim>(
      `/api/v1/namespaces/${pod.metadata.namespace}/persistentvolumeclaims/${claim}`,
    )
    return persistentVolume(setting, spec.volumeName)
  })
  return (await Promise.all(volumes)).filter(({ spec }) => spec.csi !== undefined)
}

const nameOf = ({ spec }: PersistentVolume): string => volumeName(spec.csi?.driver ?? '', spec.csi?.volumeHandle ?? '')

/** kubelet's WaitForAttach: until the node's status and the VolumeAttachments say so. False when the pod is not wanted any more. */
const waitForVolumes = async (
  setting: NodeSetting,
  node: FakeNode,
  volumes: readonly string[],
  isWanted: () => boolean,
): Promise<boolean> => {
  while (isWanted()) {
    const apiNode = [...setting.apiNodes.objects.values()].find(({ metadata }) => metadata.name === node.name)
    const reported = new Set((apiNode?.status.volumesAttached ?? []).map(({ name }) => name))
    if (volumes.every((volume) => reported.has(volume) && isAttached(setting, volume, node.name))) return true
    await sleep(200)
  }
  return false
}

let addresses = 10
const nextAddress = (): string => {
  const next = addresses++
  return `10.244.${next >> 8}.${next & 255}`
}

const runningStatus = (pod: Pod, node: FakeNode): object => {
  const now = wholeSecond()
  const ip = pod.status.podIP ?? nextAddress()
  const running = ({ name, image }: Container): object => ({
    name,
    image,
    imageID: '',
    containerID: `fake://${pod.metadata.uid}`,
    ready: true,
    started: true,
    restartCount: 0,
    state: { running: { startedAt: now } },
  })
  const completed = ({ name, image }: Container): object => ({
    name,
    image,
    imageID: '',
    ready: true,
    restartCount: 0,
    state: {
      terminated: {
        exitCode: 0,
        reason: 'Completed',
        startedAt: now,
        finishedAt: now,
      },
    },
  })
  return {
    phase: 'Running',
    startTime: now,
    hostIP: `127.0.${node.index}.1`,
    podIP: ip,
    podIPs: [{ ip }],
    conditions: ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map((type) => ({
      type,
      status: 'True',
      lastTransitionTime: now,
    })),
    initContainerStatuses: (pod.spec.initContainers ?? []).map((one) => (one.restartPolicy === 'Always' ? running(one) : completed(one))),
    containerStatuses: pod.spec.containers.map(running),
  }
}

const reportEnd = async ({ client }: NodeSetting, pod: Pod, phase: 'Succeeded' | 'Failed'): Promise<void> => {
  const now = wholeSecond()
  const exitCode = phase === 'Succeeded' ? 0 : 137
  const containerStatuses = pod.spec.containers.map(({ name, image }) => ({
    name,
    image,
    imageID: '',
    ready: false,
    restartCount: 0,
    state: {
      terminated: {
        exitCode,
        reason: phase === 'Succeeded' ? 'Completed' : 'Error',
        finishedAt: now,
        startedAt: now,
      },
    },
  }))
  const conditions = ['Ready', 'ContainersReady'].map((type) => ({ type, status: 'False', lastTransitionTime: now }))
  const path = `${podsPath(pod.metadata.namespace, pod.metadata.name)}/status`
  await client.patch(
    path,
    { metadata: { uid: pod.metadata.uid }, status: { phase, conditions, containerStatuses } },
    'strategic-merge-patch',
  )
}

/** SIGTERM and its grace: the guest shuts down, then the pod ends and its object may go. */
const stopPod = async (setting: NodeSetting, node: FakeNode, pod: Pod): Promise<void> => {
  const { client, timings, processes, vmis } = setting
  const isAlive = thisLife(node)
  const { uid, namespace, name, deletionGracePeriodSeconds = 30 } = pod.metadata
  const vmiUid = vmiUidOf(pod)
  const vmi = vmiUid === undefined ? undefined : vmis?.objects.get(vmiUid)
  if (
    vmi?.status.phase === 'Running' &&
    vmi.status.nodeName === node.name &&
    podOfVmi(setting, vmi.metadata.uid, node.name)?.metadata.uid === uid
  ) {
    await sleep(timings.vmShutdownMs)
    if (!isAlive()) return
    await attempt(
      setting,
      `${node.name} virt-handler`,
      updateVmi(setting, node, vmi.metadata.uid, (status) => void (status.phase = 'Succeeded')),
    )
  }
  await sleep(Math.min(timings.podStopMs, deletionGracePeriodSeconds * 1000))
  if (!isAlive()) return
  await processes.end(node.kubeletDirectory, uid)
  node.running.delete(uid)
  await attempt(setting, node.name, reportStatus(setting, node))
  if (!isFinished(pod.status.phase)) await attempt(setting, node.name, reportEnd(setting, pod, 'Succeeded'))
  if (isAlive()) await client.remove(podsPath(namespace, name), { gracePeriodSeconds: 0, preconditions: { uid } })
}

const startPod = async (setting: NodeSetting, node: FakeNode, pod: Pod): Promise<void> => {
  const { client, timings, pods, processes, vmis } = setting
  const { uid, namespace = '', name, labels } = pod.metadata
  const isAlive = thisLife(node)
  const isWanted = (): boolean => {
    const now = pods.objects.get(uid)
    return isAlive() && now !== undefined && now.metadata.deletionTimestamp === undefined
  }
  node.starting.set(uid, []) // before the first await: two events of one pod must not both start it
  try {
    const persistent = await volumesOf(setting, pod)
    const volumes = persistent.map(nameOf)
    node.starting.set(uid, volumes)
    if (volumes.length > 0) {
      await reportStatus(setting, node)
      if (!(await waitForVolumes(setting, node, volumes, isWanted))) return
    }
    await sleep(timings.podStartMs)
    if (!isWanted()) return
    const vmiUid = vmiUidOf(pod)
    if (persistent.length > 0) processes.start(node.kubeletDirectory, uid, persistent, () => podDied(setting, node, pod))
    node.running.set(uid, {
      namespace,
      name,
      volumes,
      since: wholeSecond(),
      vmiUid,
      isLauncher: labels?.['kubevirt.io'] === 'virt-launcher',
    })
    const status = runningStatus(pods.objects.get(uid) ?? pod, node)
    await client.patch(`${podsPath(namespace, name)}/status`, { metadata: { uid }, status }, 'strategic-merge-patch')
    const vmi = vmiUid === undefined ? undefined : vmis?.objects.get(vmiUid)
    if (vmi !== undefined) syncVmi(setting, node, vmi)
  } finally {
    node.starting.delete(uid)
  }
}

/** Somebody else killed the pod's processes: an agent that contains this node, or the test. */
const podDied = (setting: NodeSetting, node: FakeNode, pod: Pod): void => {
  node.running.delete(pod.metadata.uid)
  if (node.power === 'on') syncPod(setting, node, pod)
}

/** One event of a pod that is bound to this node. */
export const syncPod = (setting: NodeSetting, node: FakeNode, pod: Pod): void => {
  const { uid } = pod.metadata
  if (node.power !== 'on') return
  if (pod.metadata.deletionTimestamp !== undefined) {
    if (node.stopping.has(uid)) return
    node.stopping.add(uid)
    const stopping = stopPod(setting, node, pod).finally(() => node.stopping.delete(uid))
    logged(setting, node.name, stopping)
    return
  }
  if (isFinished(pod.status.phase) || node.running.has(uid) || node.starting.has(uid)) return
  // what ran and may not be run twice has ended with the boot, or with its processes
  const hasEnded = pod.status.phase === 'Running' && pod.spec.restartPolicy === 'Never'
  logged(setting, node.name, hasEnded ? reportEnd(setting, pod, 'Failed') : startPod(setting, node, pod))
}

/** The pod's object is gone: forced away, or ended by this kubelet itself. */
export const dropPod = (setting: NodeSetting, node: FakeNode, podUid: string): void => {
  if (node.power !== 'on' || !node.running.has(podUid) || node.stopping.has(podUid)) return
  const isAlive = thisLife(node)
  const drop = async (): Promise<void> => {
    await sleep(setting.timings.podStopMs)
    if (!isAlive()) return
    await setting.processes.end(node.kubeletDirectory, podUid)
    node.running.delete(podUid)
    await reportStatus(setting, node)
  }
  logged(setting, node.name, drop())
}
