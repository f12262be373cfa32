/** A small cluster for tests: hosts whose power and link can be switched, and a wait for what must become true. */
import { createStore, type Store } from '../../src/demo/apiserver/store.ts'
import { type Cluster, type ClusterOptions, startCluster } from '../../src/demo/cluster/controllers.ts'
import type { NodeHost } from '../../src/demo/cluster/node-host.ts'
import type { Pod as PodToStart } from '../../src/demo/nodes/node.ts'
import type { Pod } from '../../src/demo/cluster/objects.ts'

export interface TestHost extends NodeHost {
  setPower(isOn: boolean): void
  setLink(isUp: boolean): void
  /** Ends a pod's process as a kill from outside does. */
  kill(uid: string): void
  /** Makes every start reject until called with undefined. */
  refuseStarts(reason: string | undefined): void
  readonly started: readonly PodToStart[]
}

function createTestHost(name: string, room: string): TestHost {
  const running = new Set<string>()
  const started: PodToStart[] = []
  let isOn = true
  let isUp = true
  let boots = 1
  let refusal: string | undefined
  return {
    name,
    room,
    get bootId() {
      return `${name}-boot-${boots}`
    },
    started,
    isPowered: () => isOn,
    reachesApi: () => isOn && isUp,
    async startPod(pod) {
      if (refusal !== undefined) throw new Error(refusal)
      if (!isOn) return
      started.push(pod)
      running.add(pod.uid)
    },
    async stopPod(uid) {
      running.delete(uid)
    },
    runningPods: () => running,
    setPower(on) {
      if (on && !isOn) boots += 1
      if (!on) running.clear()
      isOn = on
    },
    setLink: (up) => {
      isUp = up
    },
    kill: (uid) => void running.delete(uid),
    refuseStarts: (reason) => {
      refusal = reason
    },
  }
}

/** Polls until the condition gives a value that is neither undefined nor false; fails after a generous limit, saying what was awaited. */
export async function eventually<T>(what: string, condition: () => T | undefined | false, limitMs = 20_000): Promise<T> {
  const endMs = performance.now() + limitMs
  for (;;) {
    const value = condition()
    if (value !== undefined && value !== false) return value
    if (performance.now() > endMs) throw new Error(`not within ${limitMs} ms: ${what}`)
    await new Promise((resolve) => {
      setTimeout(resolve, 5)
    })
  }
}

export interface Testbed {
  readonly store: Store
  readonly cluster: Cluster
  readonly hosts: ReadonlyMap<string, TestHost>
  host(name: string): TestHost
  room(name: string): readonly TestHost[]
  /** The whole room loses power at once. */
  powerOff(room: string): void
  taint(node: string, effect: 'NoSchedule' | 'NoExecute', key?: string): void
  podsOf(node: string): readonly Pod[]
  /** Grace 0 with uid, as roomfence deletes. */
  forceDelete(pod: Pod): void
}

const nodesByRoom = { 'room-a': ['a1', 'a2'], 'room-b': ['b1', 'b2'] } as const

/** Two rooms of two nodes at 1/100 of the real times. */
export function createTestbed(options: Partial<Omit<ClusterOptions, 'store' | 'hosts'>> = {}): Testbed {
  const store = createStore()
  const hosts = new Map<string, TestHost>()
  for (const [room, names] of Object.entries(nodesByRoom)) for (const name of names) hosts.set(name, createTestHost(name, room))
  const cluster = startCluster({ store, hosts: [...hosts.values()], timeFactor: 0.01, ...options })
  const bed: Testbed = {
    store,
    cluster,
    hosts,
    host(name) {
      const host = hosts.get(name)
      if (host === undefined) throw new Error(`no host ${name}`)
      return host
    },
    room: (room) => [...hosts.values()].filter((host) => host.room === room),
    powerOff(room) {
      for (const host of bed.room(room)) {
        host.setPower(false)
        cluster.hostChanged(host.name)
      }
    },
    taint(name, effect, key = 'node.kubernetes.io/out-of-service') {
      const node = structuredClone(store.get('nodes', undefined, name))
      if (node === undefined) throw new Error(`no node ${name}`)
      const spec = node['spec'] as { taints?: object[] }
      spec.taints = [...(spec.taints ?? []), { key, value: 'roomfence', effect }]
      store.update('nodes', node)
    },
    podsOf: (node) => (store.list('pods') as readonly Pod[]).filter(({ spec }) => spec.nodeName === node),
    forceDelete: ({ metadata: { namespace, name, uid } }) => void store.remove('pods', namespace, name, { uid, gracePeriodSeconds: 0 }),
  }
  return bed
}
