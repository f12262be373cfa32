/** Stand-in of virt-handler on one node: its heartbeat, and what becomes of the instances whose launcher runs here. */
import { amend, isVmiFinal, locationOf, type Pod, readAll, type VirtualMachineInstance, type VmiPhase, controllerOf } from './objects.ts'
import type { NodeHost } from './node-host.ts'
import { type ClusterContext, createWorkQueue, later, type Stop, timestamp } from './work-queue.ts'

/** From the launcher's start to a running guest, unless the instance's annotation says otherwise. */
const BOOT_MS = 1_000
/** The time the guest of this instance takes to boot, ms of the real components' time; `never` hangs in Scheduled. */
export const bootAnnotation = 'demo.roomfence.io/boot-ms'
const HEARTBEAT_MS = 60_000
const TARGET_READY_MS = 300

export const vmiUidOf = (pod: Pod): string | undefined => {
  const owner = controllerOf(pod)
  return owner?.kind === 'VirtualMachineInstance' ? owner.uid : undefined
}
export const isLauncher = (pod: Pod): boolean => pod.metadata.labels?.['kubevirt.io'] === 'virt-launcher'

/** Sets a phase with its entry in phaseTransitionTimestamps. */
export function enterPhase(vmi: VirtualMachineInstance, phase: VmiPhase, now: string): void {
  const transitions = [...(vmi.status?.phaseTransitionTimestamps ?? [])]
  // Failed has no entry in what the real controllers wrote.
  if (phase !== 'Failed') transitions.push({ phase, phaseTransitionTimestamp: now })
  vmi.status = { ...vmi.status, phase, phaseTransitionTimestamps: transitions }
}

export interface VirtHandler {
  /** Looks at the instance again. */
  see(vmi: VirtualMachineInstance): void
  /** The launcher's process has ended here: cleanly, or not. */
  launcherEnded(pod: Pod, outcome: 'Succeeded' | 'Failed'): void
  connected(): void
  stop(): void
}

export function createVirtHandler(context: ClusterContext, host: NodeHost, isConnected: () => boolean): VirtHandler {
  const { store } = context
  let cancelHeartbeat: Stop | undefined

  const launcherOf = (vmi: VirtualMachineInstance): Pod | undefined =>
    readAll(store, 'pods', vmi.metadata.namespace).find(
      (pod) => pod.spec.nodeName === host.name && vmiUidOf(pod) === vmi.metadata.uid && host.runningPods().has(pod.metadata.uid),
    )

  const startGuest = (vmi: VirtualMachineInstance): void => {
    amend(store, 'virtualmachineinstances', locationOf(vmi), (started) => {
      if (started.status?.phase !== 'Scheduled') return
      enterPhase(started, 'Running', timestamp(context))
      const pod = launcherOf(vmi)
      const bare = { lastProbeTime: null, lastTransitionTime: null, status: 'True' } as const
      const kept = (started.status.conditions ?? []).filter(({ type }) => !type.endsWith('LiveMigratable'))
      const ipAddress = pod?.status?.podIP ?? ''
      started.status = {
        ...started.status,
        conditions: [...kept, { type: 'LiveMigratable', ...bare }, { type: 'StorageLiveMigratable', ...bare }],
        migrationMethod: 'LiveMigration',
        guestOSInfo: {},
        interfaces: [{ name: 'default', podInterfaceName: 'eth0', infoSource: 'domain', ipAddress, ipAddresses: [ipAddress] }],
        runtimeUser: 107,
      }
    })
  }

  const queue = createWorkQueue(context, `virt-handler ${host.name}`, (key) => {
    const [step, uid = ''] = key.split(' ')
    const vmi = readAll(store, 'virtualmachineinstances').find((candidate) => candidate.metadata.uid === uid)
    if (vmi === undefined || !isConnected() || isVmiFinal(vmi)) return
    const { status } = vmi
    const migration = status?.migrationState
    if (migration?.targetNode === host.name && migration.completed !== true && migration.targetNodeAddress === undefined) {
      if (launcherOf(vmi) === undefined) return
      if (step !== 'target') return queue.addAfter(`target ${uid}`, TARGET_READY_MS)
      amend(store, 'virtualmachineinstances', locationOf(vmi), (prepared) => {
        const state = prepared.status?.migrationState
        if (state?.migrationUid === migration.migrationUid) state.targetNodeAddress = host.name
      })
      return
    }
    if (vmi.metadata.labels?.['kubevirt.io/nodeName'] !== host.name) return
    if (status?.phase === 'Scheduled' && launcherOf(vmi) !== undefined) {
      const boot = vmi.metadata.annotations?.[bootAnnotation]
      if (boot === 'never') return
      if (step !== 'boot') return queue.addAfter(`boot ${uid}`, boot === undefined ? BOOT_MS : Number(boot))
      startGuest(vmi)
    }
    // A live migration is begun and then never ends: nothing here moves a guest's memory.
    if (migration?.targetNodeAddress !== undefined && migration.startTimestamp === undefined && migration.completed !== true) {
      amend(store, 'virtualmachineinstances', locationOf(vmi), (begun) => {
        const state = begun.status?.migrationState
        if (state !== undefined) Object.assign(state, { startTimestamp: timestamp(context), mode: 'PreCopy' })
      })
    }
    mountHotplugged(vmi, step === 'hotplug')
  })

  /** AttachedToNode -> MountedToPod -> Ready, one step at a time. */
  const mountHotplugged = (vmi: VirtualMachineInstance, isDue: boolean): void => {
    const isUnderWay = (phase: string | undefined): boolean => phase === 'AttachedToNode' || phase === 'MountedToPod'
    if (!(vmi.status?.volumeStatus ?? []).some(({ hotplugVolume, phase }) => hotplugVolume !== undefined && isUnderWay(phase))) return
    if (!isDue) return queue.addAfter(`hotplug ${vmi.metadata.uid}`, 300)
    amend(store, 'virtualmachineinstances', locationOf(vmi), (mounted) => {
      for (const volume of mounted.status?.volumeStatus ?? []) {
        if (volume.hotplugVolume !== undefined && isUnderWay(volume.phase)) {
          volume.phase = volume.phase === 'AttachedToNode' ? 'MountedToPod' : 'Ready'
        }
      }
    })
  }

  const heartbeat = (): void => {
    cancelHeartbeat?.()
    // JitterUntil(1.2): 60 s to 2 min 12 s apart.
    cancelHeartbeat = later(context, HEARTBEAT_MS * (1 + 1.2 * Math.random()), heartbeat)
    if (!isConnected()) return
    amend(store, 'nodes', { name: host.name }, (node) => {
      node.metadata.labels = { ...node.metadata.labels, 'kubevirt.io/schedulable': 'true' }
      node.metadata.annotations = { ...node.metadata.annotations, 'kubevirt.io/heartbeat': timestamp(context) }
    })
  }

  return {
    see: (vmi) => queue.add(`see ${vmi.metadata.uid}`),
    launcherEnded(pod, outcome) {
      const uid = vmiUidOf(pod)
      const vmi = readAll(store, 'virtualmachineinstances', pod.metadata.namespace).find((candidate) => candidate.metadata.uid === uid)
      if (vmi === undefined || isVmiFinal(vmi) || vmi.status?.nodeName !== host.name || !isLauncher(pod)) return
      amend(store, 'virtualmachineinstances', locationOf(vmi), (ended) => enterPhase(ended, outcome, timestamp(context)))
    },
    connected() {
      heartbeat()
      for (const vmi of readAll(store, 'virtualmachineinstances')) queue.add(`see ${vmi.metadata.uid}`)
    },
    stop() {
      cancelHeartbeat?.()
      queue.stop()
    },
  }
}
