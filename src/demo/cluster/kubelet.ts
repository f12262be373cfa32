/** Stand-in of a kubelet (with virt-handler): one per node host. Without power or the API it does nothing, and what ran goes on running. */
import {
  amend,
  csiVolumesOf,
  isPodFinal,
  isReady,
  isTerminating,
  locationOf,
  type Node,
  type Pod,
  read,
  readAll,
  uniqueVolumeName,
  type VirtualMachineInstance,
  withCondition,
} from './objects.ts'
import { writeEvent } from './events.ts'
import { createNodeReporter } from './node-reporter.ts'
import type { NodeHost } from './node-host.ts'
import { createVirtHandler, isLauncher, vmiUidOf } from './virt-handler.ts'
import { type ClusterContext, createWorkQueue, every, type Stop, timestamp, watch } from './work-queue.ts'

/** How often the runtime is asked what runs (PLEG), and the host whether it has power and link. */
const RELIST_MS = 1_000
/** Sandbox, images, mounts: between the volumes' attachment and the processes. */
const START_MS = 1_000
const FIRST_MOUNT_RETRY_MS = 500
const LONGEST_MOUNT_RETRY_MS = 122_000

export interface Kubelet {
  /** The host's power or link changed: look now, not at the next relist. */
  hostChanged(): void
  stop(): void
}

export function startKubelet(context: ClusterContext, host: NodeHost, ordinal: number): Kubelet {
  const { store } = context
  let isConnected = false
  let isStopped = false
  let bootId = ''
  let nextAddress = 1
  /** What is known of each local pod, by uid: where the API has it, and what is under way with it here. */
  interface Local {
    readonly namespace: string
    readonly name: string
    volumes: readonly string[]
    activity: 'none' | 'starting' | 'stopping'
    hasRun: boolean
    failures: number
    isStartDue: boolean
  }
  const locals = new Map<string, Local>()
  const unknownPod: Local = { namespace: '', name: '', volumes: [], activity: 'none', hasRun: false, failures: 0, isStartDue: false }

  const hasApi = (): boolean => !isStopped && host.isPowered() && host.reachesApi()
  const volumesInUse = (): string[] => {
    const running = host.runningPods()
    const used = [...locals]
      .filter(([uid, local]) => running.has(uid) || local.activity === 'starting')
      .flatMap(([, { volumes }]) => volumes)
    return [...new Set(used)].sort()
  }
  const reporter = createNodeReporter(context, host, ordinal, hasApi, volumesInUse)
  const virtHandler = createVirtHandler(context, host, hasApi)

  const current = (uid: string): Pod | undefined => {
    const local = locals.get(uid)
    const pod = local === undefined ? undefined : read(store, 'pods', local.namespace, local.name)
    return pod?.metadata.uid === uid && pod.spec.nodeName === host.name ? pod : undefined
  }

  const sync = (uid: string): void => {
    const local = locals.get(uid)
    if (local === undefined || !hasApi() || local.activity === 'stopping') return
    const isRunning = host.runningPods().has(uid)
    const pod = current(uid)
    if (pod === undefined || isPodFinal(pod)) {
      if (isRunning) void stopPod(uid, local, undefined)
      else if (local.activity === 'none') forget(uid)
    } else if (isTerminating(pod)) {
      if (local.activity === 'none') void stopPod(uid, local, pod)
    } else if (isRunning) {
      local.hasRun = true
      reportRunning(pod, local)
    } else if (local.activity === 'none') {
      if ((local.hasRun || pod.status?.phase === 'Running') && pod.spec.restartPolicy === 'Never') reportFailed(pod)
      else start(pod, local)
    }
  }

  const forget = (uid: string): void => {
    locals.delete(uid)
    reporter.reportIfChanged()
  }

  const start = (pod: Pod, local: Local): void => {
    const { uid } = pod.metadata
    const volumes = csiVolumesOf(store, pod)
    local.volumes = volumes.map(uniqueVolumeName)
    const attached = new Set((read(store, 'nodes', undefined, host.name)?.status?.volumesAttached ?? []).map(({ name }) => name))
    // Comes back with the node's next change.
    if (!local.volumes.every((name) => attached.has(name))) return
    if (!local.isStartDue) {
      local.isStartDue = true
      queue.addAfter(uid, START_MS)
      return
    }
    local.isStartDue = false
    local.activity = 'starting'
    reporter.reportIfChanged()
    void launch(
      pod,
      local,
      volumes.map((volume) => volume.spec.csi?.volumeHandle ?? ''),
    )
  }

  const launch = async (pod: Pod, local: Local, volumes: readonly string[]): Promise<void> => {
    const { uid, name, namespace = '' } = pod.metadata
    const vmiUid = vmiUidOf(pod)
    // A migration's target holds the guest only after the handover, which never comes here: it must not write.
    const isTarget = pod.metadata.labels?.['kubevirt.io/migrationJobUID'] !== undefined
    const vmName = pod.metadata.labels?.['vm.kubevirt.io/name']
    const vm = isLauncher(pod) && !isTarget && vmiUid !== undefined && vmName !== undefined ? { vm: { name: vmName, vmiUid } } : {}
    const bootAtStart = host.bootId
    try {
      await host.startPod({ uid, namespace, name, volumes, ...vm })
      local.failures = 0
      local.hasRun = true
      queue.add(uid)
    } catch (error) {
      if (host.bootId !== bootAtStart || isStopped) return
      const retryMs = Math.min(FIRST_MOUNT_RETRY_MS * 2 ** local.failures, LONGEST_MOUNT_RETRY_MS)
      local.failures += 1
      const message = error instanceof Error ? error.message : String(error)
      if (hasApi()) writeEvent(context, { about: pod, type: 'Warning', reason: 'FailedMapVolume', component: 'kubelet', message })
      queue.addAfter(uid, retryMs)
    } finally {
      local.activity = 'none'
      local.isStartDue = local.failures > 0
    }
  }

  const stopPod = async (uid: string, local: Local, pod: Pod | undefined): Promise<void> => {
    local.activity = 'stopping'
    const bootAtStart = host.bootId
    try {
      if (host.runningPods().has(uid)) await host.stopPod(uid)
      if (pod !== undefined && hasApi() && host.bootId === bootAtStart) {
        if (local.hasRun) virtHandler.launcherEnded(pod, 'Succeeded')
        if (current(uid) !== undefined) {
          amend(store, 'pods', locationOf(pod), (ended) => {
            ended.status = { ...ended.status, phase: 'Succeeded' }
          })
          store.remove('pods', pod.metadata.namespace, pod.metadata.name, { uid, gracePeriodSeconds: 0 })
        }
      }
    } catch (error) {
      context.report(
        `kubelet ${host.name}`,
        `stop of ${local.namespace}/${local.name}: ${error instanceof Error ? error.message : String(error)}`,
      )
    } finally {
      local.activity = 'none'
      queue.addAfter(uid, 10)
      if (hasApi()) reporter.reportIfChanged()
    }
  }

  const reportRunning = (pod: Pod, local: Local): void => {
    if (pod.status?.phase === 'Running' && isReady(pod)) return
    const now = timestamp(context)
    const podIP = pod.status?.podIP ?? `10.244.${ordinal}.${nextAddress++}`
    amend(store, 'pods', locationOf(pod), (started) => {
      let conditions = started.status?.conditions
      for (const type of ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady']) {
        conditions = withCondition(conditions, { type, status: 'True', lastProbeTime: null }, now)
      }
      started.status = {
        ...started.status,
        phase: 'Running',
        ...(conditions === undefined ? {} : { conditions }),
        startTime: started.status?.startTime ?? now,
        hostIP: reporter.address,
        podIP,
        podIPs: [{ ip: podIP }],
        containerStatuses: started.spec.containers.map(({ name, image }) => ({
          name,
          image,
          imageID: '',
          containerID: `demo://${started.metadata.uid}`,
          ready: true,
          started: true,
          restartCount: 0,
          state: { running: { startedAt: now } },
        })),
      }
    })
    reporter.reportIfChanged()
    const vmi = readAll(store, 'virtualmachineinstances', local.namespace).find(({ metadata }) => metadata.uid === vmiUidOf(pod))
    if (vmi !== undefined) virtHandler.see(vmi)
  }

  const reportFailed = (pod: Pod): void => {
    const now = timestamp(context)
    virtHandler.launcherEnded(pod, 'Failed')
    amend(store, 'pods', locationOf(pod), (failed) => {
      let conditions = failed.status?.conditions
      for (const type of ['Ready', 'ContainersReady']) {
        conditions = withCondition(conditions, { type, status: 'False', reason: 'PodFailed', lastProbeTime: null }, now)
      }
      const terminated = { exitCode: 137, reason: 'Error', finishedAt: now }
      failed.status = {
        ...failed.status,
        phase: 'Failed',
        ...(conditions === undefined ? {} : { conditions }),
        containerStatuses: failed.spec.containers.map(({ name }) => ({ name, ready: false, restartCount: 0, state: { terminated } })),
      }
    })
    reporter.reportIfChanged()
  }

  const queue = createWorkQueue(context, `kubelet ${host.name}`, sync)

  /** Everything the API has for this node and everything that runs here, looked at again. */
  const resync = (): void => {
    for (const pod of readAll(store, 'pods')) if (pod.spec.nodeName === host.name) learn(pod)
    // A process without an object: its pod was deleted while nobody could tell this node.
    for (const uid of host.runningPods()) if (!locals.has(uid)) locals.set(uid, { ...unknownPod, hasRun: true })
    for (const uid of locals.keys()) queue.add(uid)
  }
  const learn = (pod: Pod): void => {
    const { uid, namespace = '', name } = pod.metadata
    if (!locals.has(uid)) {
      locals.set(uid, { ...unknownPod, namespace, name })
    }
    queue.add(uid)
  }

  const relist = (): void => {
    if (isStopped) return
    if (host.isPowered() && host.bootId !== bootId) {
      bootId = host.bootId
      for (const local of locals.values()) Object.assign(local, { activity: 'none', isStartDue: false, failures: 0 })
      isConnected = false
    }
    const connected = hasApi()
    if (connected && !isConnected) {
      reporter.register()
      virtHandler.connected()
      resync()
    } else if (connected) {
      // What runs and should not, or should and does not: a process may have ended by itself.
      const running = host.runningPods()
      for (const [uid, { hasRun, activity, failures }] of locals) {
        if (activity === 'none' && failures === 0 && hasRun !== running.has(uid)) queue.add(uid)
      }
    }
    isConnected = connected
  }

  const stopWatch = watch(store, ['pods', 'nodes', 'virtualmachineinstances'], ({ type, plural, object }) => {
    if (!isConnected || !hasApi()) return
    if (plural === 'nodes') {
      if (object.metadata.name !== host.name || (object as Node).status?.volumesAttached === undefined) return
      for (const [uid, { hasRun, activity }] of locals) if (!hasRun && activity === 'none') queue.add(uid)
    } else if (plural === 'virtualmachineinstances') {
      const vmi = object as VirtualMachineInstance
      const isHere = vmi.metadata.labels?.['kubevirt.io/nodeName'] === host.name || vmi.status?.migrationState?.targetNode === host.name
      if (isHere && type !== 'DELETED') virtHandler.see(vmi)
    } else if ((object as Pod).spec.nodeName === host.name) {
      if (type === 'DELETED') queue.add(object.metadata.uid)
      else learn(object as Pod)
    }
  })
  const stopRelist: Stop = every(context, RELIST_MS, relist, 25)
  relist()

  return {
    hostChanged: relist,
    stop() {
      isStopped = true
      stopWatch()
      stopRelist()
      reporter.stop()
      virtHandler.stop()
      queue.stop()
    },
  }
}
