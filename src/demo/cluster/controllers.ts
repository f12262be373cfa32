/** All stand-ins of a cluster's controllers and kubelets, started together on one store. */
import type { Store } from '../apiserver/store.ts'
import { startAttachDetach, startExternalAttacher } from './attach-detach.ts'
import { CSI_DRIVER } from './fixtures.ts'
import { type Kubelet, startKubelet } from './kubelet.ts'
import type { NodeHost } from './node-host.ts'
import { startNodeLifecycle } from './node-lifecycle.ts'
import { startOwnerGc } from './owner-gc.ts'
import { startPodGc } from './pod-gc.ts'
import { startScheduler } from './scheduler.ts'
import { startTaintEviction } from './taint-eviction.ts'
import { startVirtController } from './virt-controller.ts'
import { startVolumeBinder } from './volume-binder.ts'
import { type Clock, type ClusterContext, type Stop, systemClock } from './work-queue.ts'
import { startWorkloads } from './workloads.ts'

/** The controllers by the name under which one can be left out or stopped alone. */
const starters = {
  scheduler: startScheduler,
  'node-lifecycle': startNodeLifecycle,
  'pod-gc': startPodGc,
  'taint-eviction': startTaintEviction,
  'volume-binder': startVolumeBinder,
  'attach-detach': startAttachDetach,
  'external-attacher': (context: ClusterContext) => startExternalAttacher(context, CSI_DRIVER),
  'owner-gc': startOwnerGc,
  workloads: startWorkloads,
  'virt-controller': startVirtController,
} as const satisfies Readonly<Record<string, (context: ClusterContext) => Stop>>

export type ControllerName = keyof typeof starters
const controllerNames = Object.keys(starters) as readonly ControllerName[]

export interface ClusterOptions {
  readonly store: Store
  readonly hosts: readonly NodeHost[]
  /** Real milliseconds per millisecond of the real components; 1 by default, 0.01 for fast tests. */
  readonly timeFactor?: number
  readonly clock?: Clock
  /** Left out: all. */
  readonly controllers?: readonly ControllerName[]
  /** Told of what a controller could not do at its first try. */
  readonly report?: (controller: string, message: string) => void
}

export interface Cluster {
  /** A host's power or link has changed. Without this the kubelet finds out within a second (scaled). */
  hostChanged(name: string): void
  /** Stops one controller as if its process died; `startController` lets another take over. */
  stopController(name: ControllerName): void
  startController(name: ControllerName): void
  /** Stops everything. The hosts and their processes are left as they are. */
  stop(): void
}

export function startCluster(options: ClusterOptions): Cluster {
  const { store, hosts, timeFactor = 1, clock = systemClock, controllers = controllerNames, report = () => undefined } = options
  if (!(timeFactor > 0)) throw new RangeError(`timeFactor: seen ${timeFactor}, allowed is a number above 0`)
  const context: ClusterContext = { store, clock, timeFactor, report }
  const running = new Map<ControllerName, Stop>()
  const kubelets = new Map<string, Kubelet>()

  const cluster: Cluster = {
    hostChanged: (name) => kubelets.get(name)?.hostChanged(),
    stopController(name) {
      running.get(name)?.()
      running.delete(name)
    },
    startController(name) {
      if (!running.has(name)) running.set(name, starters[name](context))
    },
    stop() {
      for (const kubelet of kubelets.values()) kubelet.stop()
      for (const name of running.keys()) cluster.stopController(name)
    },
  }
  for (const name of controllers) cluster.startController(name)
  for (const [index, host] of hosts.entries()) kubelets.set(host.name, startKubelet(context, host, index + 1))
  return cluster
}
