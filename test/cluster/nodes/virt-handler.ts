/** The fake virt-handler with its virt-launchers: brings each VirtualMachineInstance of its node through its phases. */
import { type MigrationState, nodesPath, vmisPath, type VirtualMachineInstance, type VmiStatus, wholeSecond } from '../api/objects.ts'
import { isApiError } from '../../support/api-client.ts'
import { sleep } from '../../support/timing.ts'
import { attempt, type FakeNode, isFinished, type NodeSetting, podOfVmi, thisLife } from './setting.ts'

/** A VMI annotated with it boots that many milliseconds; from an hour on it hangs in Scheduled. */
export const bootTimeAnnotation = 'roomfence.test/boot-ms'
const hourMs = 3_600_000

export const sendHeartbeat = async ({ handlerClient, name }: FakeNode): Promise<void> => {
  const labels = { 'kubevirt.io/schedulable': 'true', cpumanager: 'false', 'kubevirt.io/cpumanager': 'false' }
  const metadata = { labels, annotations: { 'kubevirt.io/heartbeat': wholeSecond() } }
  await handlerClient.patch(nodesPath(name), { metadata }, 'strategic-merge-patch')
}

type Change = (status: VmiStatus, labels: Record<string, string>) => void

/** Changes a copy and replaces the whole object, as virt-handler does; again with the newest one after a conflict. */
export const updateVmi = async ({ vmis }: NodeSetting, node: FakeNode, uid: string, change: Change): Promise<void> => {
  const isAlive = thisLife(node)
  let vmi: VirtualMachineInstance | undefined = vmis?.objects.get(uid)
  for (let attempts = 0; attempts < 20; attempts++) {
    if (vmi === undefined || vmi.metadata.uid !== uid || isFinished(vmi.status.phase) || !isAlive()) return
    const path = vmisPath(vmi.metadata.namespace, vmi.metadata.name)
    const changed = structuredClone(vmi) as { metadata: { labels?: Record<string, string> }; status: VmiStatus }
    changed.metadata.labels ??= {}
    change(changed.status, changed.metadata.labels)
    if (JSON.stringify(changed) === JSON.stringify(vmi)) return
    const { phase } = changed.status
    if (phase !== undefined && phase !== vmi.status.phase) {
      changed.status.phaseTransitionTimestamps ??= []
      changed.status.phaseTransitionTimestamps.push({ phase, phaseTransitionTimestamp: wholeSecond() })
    }
    try {
      await node.handlerClient.replace(path, changed)
      return
    } catch (error) {
      if (!isApiError(error, 409)) throw error
      vmi = await node.handlerClient.get<VirtualMachineInstance>(path)
    }
  }
}

const becomeRunning = (status: VmiStatus, uid: string, ip: string | undefined): void => {
  const capabilities = ['LiveMigratable', 'StorageLiveMigratable']
  status.phase = 'Running'
  status.conditions = [
    ...(status.conditions ?? []).filter(({ type }) => ![...capabilities, 'DataVolumesReady'].includes(type)),
    ...capabilities.map((type) => ({ type, status: 'True', lastProbeTime: null, lastTransitionTime: null })),
  ]
  status.migrationMethod = 'LiveMigration'
  status['guestOSInfo'] = {}
  status['machine'] = { type: 'pc-q35-rhel9.6.0' }
  status['runtimeUser'] ??= 107
  status['selinuxContext'] ??= 'none'
  status['currentCPUTopology'] ??= { cores: 1, sockets: 1, threads: 1 }
  const mac = `52:54:00:${uid.slice(0, 2)}:${uid.slice(2, 4)}:${uid.slice(4, 6)}`
  const address = ip === undefined ? { ipAddresses: [] } : { ipAddress: ip, ipAddresses: [ip] }
  status['interfaces'] = [
    { name: 'default', podInterfaceName: 'eth0', mac, infoSource: 'domain', queueCount: 1, linkState: 'up', ...address },
  ]
  for (const volume of status.volumeStatus ?? []) if (volume.hotplugVolume === undefined) volume.target ??= 'vda'
}

/** A hot-plugged volume's way: AttachedToNode, MountedToPod, Ready. One step. */
const advanceHotplug = (status: VmiStatus): void => {
  const hotplugged = (status.volumeStatus ?? []).filter(({ hotplugVolume }) => hotplugVolume !== undefined)
  for (const [index, volume] of hotplugged.entries()) {
    if (volume.hotplugVolume?.attachPodUID === undefined) continue
    if (volume.phase === 'AttachedToNode')
      Object.assign(volume, {
        phase: 'MountedToPod',
        reason: 'VolumeMountedToPod',
        message: `Volume ${volume.name} has been mounted in virt-launcher pod`,
      })
    else if (volume.phase === 'MountedToPod')
      Object.assign(volume, {
        phase: 'Ready',
        reason: 'VolumeReady',
        target: `sd${'abcdefgh'[index] ?? 'z'}`,
        message: `Successfully attach hotplugged volume ${volume.name} to VM`,
      })
  }
}

/** Changes the migration only if it is still the one that was seen. */
const inMigration =
  (seen: MigrationState, change: (migration: MigrationState, labels: Record<string, string>, status: VmiStatus) => void): Change =>
  (status, labels) => {
    const migration = status.migrationState
    if (migration?.migrationUid === seen.migrationUid && migration !== undefined && migration.completed !== true)
      change(migration, labels, status)
  }

const advance = async (setting: NodeSetting, node: FakeNode, uid: string): Promise<void> => {
  const { timings, vmis, nodes } = setting
  const vmi = vmis?.objects.get(uid)
  if (vmi === undefined) return
  const isAlive = thisLife(node)
  const { status } = vmi
  const migration = status.migrationState?.completed === true ? undefined : status.migrationState
  const hasLauncher = [...node.running.values()].some(({ vmiUid, isLauncher }) => isLauncher && vmiUid === uid)
  const update = async (afterMs: number, change: Change): Promise<void> => {
    await sleep(afterMs)
    if (isAlive()) await updateVmi(setting, node, uid, change)
  }
  if (migration?.targetNode === node.name && migration.targetNodeAddress === undefined && hasLauncher)
    return update(
      300,
      inMigration(migration, (now) => {
        now.targetNodeAddress = `127.0.${node.index}.1`
        now.targetDirectMigrationNodePorts = { 45001: 0, 45002: 49152, 45003: 49153 }
      }),
    )
  if (vmi.metadata.labels?.['kubevirt.io/nodeName'] !== node.name) return
  if (vmi.metadata.deletionTimestamp !== undefined && status.phase === 'Running')
    return update(timings.vmShutdownMs, (now) => void (now.phase = 'Succeeded'))
  if (status.phase === 'Scheduled' && hasLauncher) {
    const wantedMs = vmi.metadata.annotations?.[bootTimeAnnotation]
    const bootMs = wantedMs === undefined ? timings.vmBootMs : Number(wantedMs)
    if (bootMs >= hourMs) return
    return update(bootMs, (now) => {
      if (now.phase === 'Scheduled') becomeRunning(now, uid, podOfVmi(setting, uid, node.name)?.status.podIP)
    })
  }
  const isPlugging = ({ phase }: { phase?: string }): boolean => phase === 'AttachedToNode' || phase === 'MountedToPod'
  if (status.phase === 'Running' && (status.volumeStatus ?? []).some((volume) => volume.hotplugVolume !== undefined && isPlugging(volume)))
    return update(300, advanceHotplug)
  if (migration?.targetNodeAddress !== undefined && migration.startTimestamp === undefined)
    return update(
      300,
      inMigration(migration, (now) => {
        now.startTimestamp = wholeSecond()
        now.mode = 'PreCopy'
      }),
    )
  const target = migration?.targetNode
  if (migration?.startTimestamp !== undefined && target !== undefined && timings.migrationMs > 0)
    return update(
      timings.migrationMs,
      inMigration(migration, (now, labels, whole) => {
        if (nodes.get(target)?.power !== 'on') return
        now.completed = true
        now.endTimestamp = wholeSecond()
        now.targetNodeDomainDetected = true
        now.targetNodeDomainReadyTimestamp = wholeSecond()
        labels['kubevirt.io/nodeName'] = target
        whole.nodeName = target
        delete whole['launcherContainerImageVersion']
      }),
    )
}

/** One event of a VMI; several while the first is worked on become one more. */
export const syncVmi = (setting: NodeSetting, node: FakeNode, vmi: VirtualMachineInstance): void => {
  const { uid, labels } = vmi.metadata
  const { migrationState, phase } = vmi.status
  const isHere =
    labels?.['kubevirt.io/nodeName'] === node.name || (migrationState?.targetNode === node.name && migrationState.completed !== true)
  if (node.power !== 'on' || !isHere || isFinished(phase)) return
  if (node.syncingVmis.has(uid)) {
    node.syncingVmis.set(uid, true)
    return
  }
  node.syncingVmis.set(uid, false)
  const isAlive = thisLife(node)
  const work = async (): Promise<void> => {
    await attempt(setting, `${node.name} virt-handler`, advance(setting, node, uid))
    const changedMeanwhile = node.syncingVmis.get(uid)
    const now = setting.vmis?.objects.get(uid)
    node.syncingVmis.delete(uid)
    if (changedMeanwhile && now !== undefined && isAlive()) syncVmi(setting, node, now)
  }
  void work()
}
