/** What a stage plays on: one world, a namespace of its own, the shipped failover engine in this process, and a log of all that happened. */
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import type { FailoverInput } from '../../src/failover/run/executing.ts'
import { type Failover, startFailover } from '../../src/failover/run/failover.ts'
import type { FailoverConfig } from '../../src/failover/plan/config.ts'
import type { FailoverEvent, FailoverResult } from '../../src/failover/run/progress.ts'
import type { CommittedFence } from '../../src/failover/fence/committed-fence.ts'
import { type RbacRule, rbacRules } from '../../src/failover/run/rbac.ts'
import { startUnfence, type UnfenceInput, type UnfenceResult } from '../../src/failover/unfence/unfence.ts'
import { createKubeClient, type KubeClient } from '../../src/kubernetes/client.ts'
import { clusterId, epoch, nodeId, room } from '../../src/protocol/ids.ts'
import { type ApiClient, apiClient, isApiError } from '../support/api-client.ts'
import { until } from '../support/timing.ts'
import { allProved, testClock } from '../support/failover-bed.ts'
import { defaultFailoverConfig } from '../support/failover-examples.ts'
import { clearNamespace, healNodes } from './cleaning.ts'
import { ensureCsiDriver } from './line-objects.ts'
import { type ApiProxy, startApiProxy } from '../support/proxy.ts'
import { type AnyObject, type ApiLog, recordingClient, startApiLog, type Write } from './recording.ts'
import { deadRoom, type World } from './world.ts'

/** A workload as the Fence object records it. */
export interface FenceWorkload {
  readonly kind: string
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly node: string
  readonly priority: number
  readonly state: string
  readonly proof: string
  readonly reason: string
  readonly newNode: string
  readonly startAsked: boolean
}

export interface FenceObject extends AnyObject {
  readonly spec: { readonly epoch: number; readonly nodes: readonly string[] }
  readonly status?: {
    readonly phase: string
    readonly message: string
    readonly carriedOutBy: string
    readonly nodes: readonly {
      readonly name: string
      readonly fenced: boolean
      readonly outOfService: boolean
      readonly waitingFor?: string
    }[]
    readonly workloads: readonly FenceWorkload[]
    readonly leases: readonly { readonly name: string; readonly holder: string; readonly released: boolean }[]
    readonly stuck: readonly string[]
    readonly unplaced?: unknown
  }
}

export interface PlayedFailover {
  readonly order: CommittedFence
  readonly failover: Failover
  /** What the engine told, so far. */
  readonly events: readonly FailoverEvent[]
  /** Its writes, in order, so far. */
  readonly writes: readonly Write[]
  /** Resolves with the engine's end. */
  readonly done: Promise<FailoverResult>
}

export type FailoverOptions = Partial<Omit<FailoverInput, 'order' | 'config'>> & {
  readonly order?: Partial<CommittedFence>
  readonly config?: Partial<FailoverConfig>
}

export interface Bed {
  readonly world: World
  /** The admin's client, which shares nothing with the engine's: for playing and for looking. */
  readonly api: ApiClient
  /** The engine's client: ServiceAccount `roomfence` with the shipped rights and no others. */
  readonly client: KubeClient
  /** The stage's own. */
  readonly namespace: string
  readonly log: ApiLog
  /** Names of the nodes of a room, the lost one by default. */
  nodesOf(room?: string): readonly string[]
  roomOf(node: string | undefined): string | undefined
  /** All at one moment; the whole lost room by default. */
  powerOff(nodes?: readonly string[]): Promise<void>
  powerOn(nodes?: readonly string[]): Promise<void>
  /**
   * For stages that look at who deleted what: the embedded world's own eviction comes a hundred times sooner than Kubernetes' (3.5 s after a power loss),
   * on a busy machine before the engine. Off from now on. In the real world it comes 40 s after the loss.
   */
  withoutEviction(): void
  /** Starts the engine; by default for the whole lost room, everything proved, every volume up to date, under an epoch of its own. */
  failover(options?: FailoverOptions): PlayedFailover
  /** Starts a failover and waits for its end. */
  failedOver(options?: FailoverOptions): Promise<PlayedFailover & { readonly result: FailoverResult }>
  /** Waits for its end, and says what the Fence says when there is none. */
  ended(played: Pick<PlayedFailover, 'order' | 'done'>): Promise<FailoverResult>
  unfence(order: CommittedFence, options?: Partial<UnfenceInput>): Promise<UnfenceResult>
  /** A client of ServiceAccount `roomfence/<name>` with these rights alone. */
  clientWith(serviceAccount: 'few-rights' | 'other', rules: readonly RbacRule[]): Promise<KubeClient>
  /** The engine's client through a proxy of its own, where faults can be set; nobody else goes that way. */
  throughProxy(): Promise<{ readonly client: KubeClient; readonly proxy: ApiProxy }>
  fence(id: string): Promise<FenceObject>
  /** The recorded workload of that name in this stage's namespace. */
  recorded(id: string, name: string): Promise<FenceWorkload | undefined>
  /** Waits for a condition of the cluster: 30 s at most, stretched by the time factor. */
  until<T>(what: string, look: () => Promise<T | undefined | false> | T | undefined | false, limitMs?: number): Promise<T>
  /** Resolves with the VirtualMachineInstance when it is Running in that room. */
  vmiRuns(name: string, room: string, limitMs?: number): Promise<AnyObject>
  /** Running pods with label `app=<app>`, of one room or of all, terminating ones left out. */
  podsOf(app: string, room?: string): Promise<readonly AnyObject[]>
  podsRun(app: string, room: string, count?: number, limitMs?: number): Promise<readonly AnyObject[]>
  /** PUT virtualmachines/NAME/start. */
  startVm(name: string): Promise<void>
  /** Run when the stage is over, before the world is cleaned. */
  onEnd(work: () => void | Promise<void>): void
  close(): Promise<void>
}

const rolesPath = '/apis/rbac.authorization.k8s.io/v1/clusterroles'
const bindingsPath = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings'
const definitionsPath = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'

/** Creates the object or replaces the one that is there. */
const apply = async (api: ApiClient, path: string, object: { readonly metadata: { readonly name: string } }): Promise<void> => {
  await api.create(path, object).catch(async (error: unknown) => {
    if (!isApiError(error, 409)) throw error
    await api.patch(`${path}/${object.metadata.name}`, object)
  })
}

const grant = async (api: ApiClient, serviceAccount: string, rules: readonly RbacRule[]): Promise<void> => {
  const name = `lines-${serviceAccount}`
  await apply(api, rolesPath, { metadata: { name }, rules } as { metadata: { name: string } })
  await apply(api, bindingsPath, {
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
    subjects: [{ kind: 'ServiceAccount', namespace: 'roomfence', name: serviceAccount }],
  } as { metadata: { name: string } })
}

/** One count for all stages of a world: a fence is later than every one before it, and than every un-fence. */
const epochs = new WeakMap<World, number>()
const nextEpoch = (world: World): number => {
  const next = (epochs.get(world) ?? 6) + 1
  epochs.set(world, next + 1) // the one between is for the un-fence
  return next
}

async function prepare(api: ApiClient, namespace: string): Promise<void> {
  const definition = parse(readFileSync(new URL('../../deploy/crds/fences.roomfence.io.yaml', import.meta.url), 'utf8')) as {
    metadata: { name: string }
  }
  await apply(api, definitionsPath, definition)
  for (const name of ['roomfence', namespace])
    await api.create('/api/v1/namespaces', { metadata: { name } }).catch((error: unknown) => {
      if (!isApiError(error, 409)) throw error
    })
  await ensureCsiDriver(api)
  await grant(api, 'roomfence', rbacRules)
  await until('fences are served', 30_000, async () => api.list('/apis/roomfence.io/v1/fences').then(() => true), 50)
}

/** Far longer than a fence takes on a busy machine. In the real world a volume may stay attached for six minutes. */
const longestFenceMs = { embedded: 60_000, real: 480_000 } as const

/** @param namespace the stage's own, DNS-1123 */
export async function openBed(world: World, namespace: string): Promise<Bed> {
  const api = apiClient(world.access)
  await prepare(api, namespace)
  if (world.real !== undefined)
    await until('the namespace can have pods', 30_000, async () => api.get(`/api/v1/namespaces/${namespace}/serviceaccounts/default`))
  const log = await startApiLog(api, (kind) => !(kind.startsWith('virtual') && world.cluster === 'without-kubevirt'))
  const kubeClient = async (serviceAccount: string, { url, caPem } = world.access): Promise<KubeClient> => {
    const token = await world.tokenOf(serviceAccount)
    const credentials = {
      server: url,
      ca: Buffer.from(caPem),
      skipTlsVerify: false,
      authorization: async () => `Bearer ${token}`,
    }
    return createKubeClient({ credentials })
  }
  const client = await kubeClient('roomfence')
  const clients = [client]
  const played: PlayedFailover[] = []
  const endings: (() => void | Promise<void>)[] = []

  const nodesOf = (name = deadRoom): readonly string[] => world.nodes.flatMap((node) => (node.room === name ? [node.name] : []))
  const roomOf = (node: string | undefined): string | undefined => world.nodes.find(({ name }) => name === node)?.room
  const waitFor: Bed['until'] = async (what, look, limitMs = 30_000) => until(what, limitMs, look, world.lookEveryMs)
  const vmiPath = (name: string): string => `/apis/kubevirt.io/v1/namespaces/${namespace}/virtualmachineinstances/${name}`

  const failover: Bed['failover'] = ({ order: changes, config, client: own, onProgress, ...input } = {}) => {
    const number = nextEpoch(world)
    const order: CommittedFence = {
      id: `fence-${String(number)}`,
      epoch: epoch(number),
      clusterId: clusterId('lines'),
      nodes: nodesOf().map(nodeId),
      rooms: [room(deadRoom)],
      reason: `${deadRoom} silent for 3 s`,
      carriedOutBy: nodeId(nodesOf(world.nodes[0]?.room)[0] ?? ''),
      dryRun: false,
      ...changes,
    }
    const events: FailoverEvent[] = []
    const writes: Write[] = []
    const started = startFailover({
      proofs: allProved,
      dataGate: () => ({ open: true }),
      clock: testClock,
      ...input,
      order,
      config: { ...world.config, ...config },
      client: recordingClient(own ?? client, writes),
      onProgress: (event) => {
        events.push(event)
        onProgress?.(event)
      },
    })
    // Who looks at `done` hears of a failure there; nobody else needs to.
    started.done.catch(() => undefined)
    const one = { order, failover: started, events, writes, done: started.done }
    played.push(one)
    return one
  }

  const ended: Bed['ended'] = async ({ order, done }) => {
    let isOver = false
    const over = done.finally(() => {
      isOver = true
    })
    const inTime = waitFor('the fence ends', () => isOver, longestFenceMs[world.name]).catch(async (error: unknown) => {
      throw new Error(`${String(error)}: ${JSON.stringify((await fence(order.id)).status)}`)
    })
    return Promise.race([over, inTime.then(async () => done)])
  }

  const fence: Bed['fence'] = async (id) => api.get<FenceObject>(`/apis/roomfence.io/v1/fences/${id}`)
  const podsOf: Bed['podsOf'] = async (app, name) =>
    (await api.list<AnyObject>(`/api/v1/namespaces/${namespace}/pods?labelSelector=app%3D${app}`)).filter(({ metadata, spec, status }) => {
      const { nodeName } = spec as { nodeName?: string }
      const isRunning = (status as { phase?: string }).phase === 'Running' && metadata.deletionTimestamp === undefined
      return isRunning && (name === undefined || roomOf(nodeName) === name)
    })

  return {
    world,
    api,
    client,
    namespace,
    log,
    nodesOf,
    roomOf,
    powerOff: async (nodes = nodesOf()) => world.power(nodes, 'off'),
    powerOn: async (nodes = nodesOf()) => world.power(nodes, 'on'),
    withoutEviction: () => {
      world.embedded?.testbed.cluster.stopController('taint-eviction')
    },
    failover,
    ended,
    failedOver: async (options) => {
      const one = failover(options)
      const result = await ended(one)
      await log.settled()
      return { ...one, result }
    },
    unfence: async (order, options = {}) =>
      startUnfence({
        fencedIn: order.epoch,
        nodes: order.nodes,
        by: 'operator',
        isForced: false,
        client,
        clock: testClock,
        agentReport: () => ({ killedUnderEpoch: order.epoch, resources: [] }),
        chooseEpoch: async () => ({ chosen: true, epoch: epoch(order.epoch + 1) }),
        freshnessMs: 10_000,
        backoff: defaultFailoverConfig,
        ...options,
      }).done,
    clientWith: async (serviceAccount, rules) => {
      await grant(api, serviceAccount, rules)
      const own = await kubeClient(serviceAccount)
      clients.push(own)
      return own
    },
    throughProxy: async () => {
      const proxy = await startApiProxy(world.access)
      endings.push(async () => proxy.close())
      const own = await kubeClient('roomfence', proxy.access)
      clients.push(own)
      return { client: own, proxy }
    },
    fence,
    recorded: async (id, name) =>
      (await fence(id)).status?.workloads.find((workload) => workload.namespace === namespace && workload.name === name),
    until: waitFor,
    vmiRuns: async (name, wanted, limitMs) =>
      waitFor(
        `VM ${name} is Running in ${wanted}`,
        async () => {
          const vmi = await api.get<AnyObject>(vmiPath(name))
          const { phase, nodeName } = (vmi.status ?? {}) as { phase?: string; nodeName?: string }
          return phase === 'Running' && roomOf(nodeName) === wanted ? vmi : undefined
        },
        limitMs,
      ),
    podsOf,
    podsRun: async (app, wanted, count = 1, limitMs) =>
      waitFor(
        `${String(count)} pods of ${app} run in ${wanted}`,
        async () => {
          const pods = await podsOf(app, wanted)
          return pods.length === count ? pods : undefined
        },
        limitMs,
      ),
    startVm: async (name) => {
      await waitFor(`start of ${name} is accepted`, async () =>
        api.replace(`/apis/subresources.kubevirt.io/v1/namespaces/${namespace}/virtualmachines/${name}/start`, {}).then(() => true),
      )
    },
    onEnd: (work) => {
      endings.push(work)
    },
    close: async () => {
      for (const one of played) one.failover.stop()
      await Promise.allSettled(played.map(async ({ done }) => done))
      for (const end of endings.toReversed()) await end()
      log.stop()
      for (const one of clients) one.close()
      // A cluster for one stage alone is thrown away as it is.
      if (world.real !== undefined && world.cluster === undefined) {
        await healNodes(world, api)
        await clearNamespace(api, namespace)
      }
      api.close()
    },
  }
}
