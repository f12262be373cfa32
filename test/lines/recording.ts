/** What a stage writes down while it plays: every change that the API server told of, and every write of the failover engine. */
import type { KubeClient } from '../../src/kubernetes/client.ts'
import { KubeError } from '../../src/kubernetes/errors.ts'
import type { ApiClient, ApiObject } from '../support/api-client.ts'

const watched = {
  pods: '/api/v1/pods',
  nodes: '/api/v1/nodes',
  jobs: '/apis/batch/v1/jobs',
  volumeattachments: '/apis/storage.k8s.io/v1/volumeattachments',
  leases: '/apis/coordination.k8s.io/v1/leases',
  fences: '/apis/roomfence.io/v1/fences',
  virtualmachines: '/apis/kubevirt.io/v1/virtualmachines',
  virtualmachineinstances: '/apis/kubevirt.io/v1/virtualmachineinstances',
} as const

export type Watched = keyof typeof watched

/** Any field may be looked at; what is not there is undefined. */
export interface AnyObject extends ApiObject {
  readonly spec?: unknown
  readonly status?: unknown
}

export interface Change {
  readonly kind: Watched
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly object: AnyObject
  /** The object's resourceVersion: one count for the whole API server, so changes of different kinds have an order. */
  readonly version: number
}

export interface ApiLog {
  /** In the order of the API server's own count. */
  changes(kind?: Watched): readonly Change[]
  /** All states of the object of that uid, its end included. */
  historyOf(uid: string): readonly Change[]
  /** Resolves when the log has everything that the API server has now. */
  settled(): Promise<void>
  stop(): void
}

/** @param isServed which kinds the API server has */
export async function startApiLog(api: ApiClient, isServed: (kind: Watched) => boolean): Promise<ApiLog> {
  const changes: Change[] = []
  const kinds = Object.entries(watched).filter(([kind]) => isServed(kind as Watched))
  const watches = kinds.map(([kind, path]) => {
    const watch = api.watch<AnyObject>(path, (type, object) => {
      const version = Number(object.metadata.resourceVersion)
      changes.push({ kind: kind as Watched, type, object, version })
    })
    return { path, watch }
  })
  await Promise.all(watches.map(async ({ watch }) => watch.listed))
  return {
    changes: (kind) => changes.filter((change) => kind === undefined || change.kind === kind).toSorted((a, b) => a.version - b.version),
    historyOf: (uid) => changes.filter(({ object }) => object.metadata.uid === uid).toSorted((a, b) => a.version - b.version),
    settled: async () => {
      for (const { path, watch } of watches) {
        const listed = await api.list<AnyObject>(path)
        const isBehind = (): boolean =>
          listed.some(({ metadata: { uid, resourceVersion } }) => {
            const known = changes.findLast(({ object }) => object.metadata.uid === uid)
            return known === undefined || known.version < Number(resourceVersion)
          }) ||
          [...watch.objects.keys()].some(
            (uid) => !listed.some(({ metadata }) => metadata.uid === uid) && !isNewer(watch.objects.get(uid), listed),
          )
        for (let looks = 0; isBehind(); looks++) {
          if (looks > 500) throw new Error(`the watch of ${path} does not keep up`)
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }
    },
    stop: () => {
      for (const { watch } of watches) watch.stop()
    },
  }
}

/** Made after the list was: no sign of being behind. */
const isNewer = (object: AnyObject | undefined, listed: readonly AnyObject[]): boolean =>
  Number(object?.metadata.resourceVersion) > Math.max(0, ...listed.map(({ metadata }) => Number(metadata.resourceVersion)))

export interface Write {
  readonly verb: 'create' | 'patch' | 'json-patch' | 'put' | 'delete' | 'subresource'
  readonly path: string
  /** The patch or object; of a delete its options. */
  readonly body: unknown
  /** `ok`, or a code of `KubeError`. */
  outcome: string
  readonly isDryRun: boolean
}

/** The client with its writes written down, Kubernetes' Events left out. Each stands where it was begun. */
export function recordingClient(client: KubeClient, writes: Write[]): KubeClient {
  const recorded = async <T>(verb: Write['verb'], path: string, body: unknown, call: () => Promise<T>, isDryRun = false): Promise<T> => {
    const write: Write = { verb, path, body, outcome: 'under way', isDryRun }
    if (!path.startsWith('/apis/events.k8s.io/')) writes.push(write)
    try {
      const answer = await call()
      write.outcome = 'ok'
      return answer
    } catch (error) {
      write.outcome = error instanceof KubeError ? error.code : String(error)
      throw error
    }
  }
  return {
    ...client,
    create: async (path, body, options) => recorded('create', path, body, async () => client.create(path, body, options)),
    patchMerge: async (path, body, options) =>
      recorded('patch', path, body, async () => client.patchMerge(path, body, options), options?.dryRun),
    patchStrategic: async (path, body, options) =>
      recorded('patch', path, body, async () => client.patchStrategic(path, body, options), options?.dryRun),
    patchJson: async (path, body, options) =>
      recorded('json-patch', path, body, async () => client.patchJson(path, body, options), options?.dryRun),
    put: async (path, body, options) => recorded('put', path, body, async () => client.put(path, body, options)),
    putSubresource: async (path, body, options) =>
      recorded('subresource', path, body, async () => client.putSubresource(path, body, options)),
    delete: async (path, options) => {
      const { signal: _signal, timeoutMs: _timeoutMs, ...body } = options
      return recorded('delete', path, body, async () => client.delete(path, options))
    },
  }
}
