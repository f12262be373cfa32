/** The coordinator's count of what a room's loss would move and whether the other rooms have a place for it, every few minutes. Adapter shell. */
import { type Capacity, capacityAfterLoss, type CountedPod } from '../../failover/brakes/capacity.ts'
import { skipReason } from '../../failover/plan/classify.ts'
import { optOutAnnotation } from '../../failover/fence/names.ts'
import type { KubeClient } from '../../kubernetes/client.ts'
import { type NodeView, nodeView, paths, podView } from '../../kubernetes/resources.ts'
import type { Log } from '../../observe/log.ts'
import type { Metrics } from '../../observe/metrics.ts'
import type { Membership } from '../../protocol/membership.ts'

export interface CapacityCountOptions {
  readonly client: KubeClient
  readonly nowMs: () => number
  readonly everyMs: number
  readonly membership: () => Membership | null
  /** Whether it is this agent's turn: it carries out fences, reaches the API server, and has none under way. */
  readonly isMine: () => boolean
  readonly log: Log
  readonly metrics: Metrics
}

export interface CapacityCount {
  /** Asked about twice a second; asks the API server only when a count is due. */
  readonly review: () => void
  readonly stop: () => void
}

/** Pods a page: a page is a megabyte or two. */
const PAGE = 250
/** An agent that has just become the one to count waits: it may have more pressing things to do. */
const FIRST_AFTER_MS = 10_000
const NAMED_IN_LOG = 20

export function createCapacityCount(options: CapacityCountOptions): CapacityCount {
  const { nowMs, everyMs, metrics, log } = options
  const stopping = new AbortController()
  let mineSinceMs: number | undefined
  let countedAtMs = -Infinity
  let isCounting = false
  const told = new Map<string, string>()

  const count = async (membership: Membership): Promise<void> => {
    isCounting = true
    try {
      const seen = await readCluster(options.client, stopping.signal)
      const rooms = roomsAtRisk(membership)
      if (!options.isMine()) return
      forget()
      for (const { room, lost, fenced } of rooms) {
        const capacity = capacityAfterLoss(seen.nodes, seen.pods, lost, fenced)
        show(metrics, room, capacity)
        tell(room, capacity)
      }
      metrics.capacityCounts.inc({ outcome: 'ok' })
    } catch (error) {
      if (stopping.signal.aborted) return
      metrics.capacityCounts.inc({ outcome: 'failed' })
      log.warn({ error }, 'what a room’s loss would move could not be counted, and is counted again later')
    } finally {
      isCounting = false
      countedAtMs = nowMs()
    }
  }

  const tell = (room: string, { unplaced }: Capacity): void => {
    const names = unplaced.slice(0, NAMED_IN_LOG).join(', ')
    if (names === (told.get(room) ?? '')) return
    told.set(room, names)
    if (unplaced.length === 0) log.info({ room }, `everything that runs in ${room} would find a place if it were lost`)
    else log.warn({ room, unplaced: unplaced.length, first: names }, `${unplaced.length} pods would find no node if ${room} were lost`)
  }

  const forget = (): void => {
    for (const gauge of gaugesOf(metrics)) gauge.reset()
  }

  return {
    review: () => {
      if (!options.isMine()) {
        // Another agent counts now, or there is more important work: old numbers are worse than none.
        if (mineSinceMs !== undefined) forget()
        mineSinceMs = undefined
        return
      }
      mineSinceMs ??= nowMs()
      const membership = options.membership()
      if (isCounting || membership === null || nowMs() - mineSinceMs < Math.min(FIRST_AFTER_MS, everyMs)) return
      // Numbers of before this agent's turn were forgotten with it.
      if (nowMs() - countedAtMs >= everyMs || countedAtMs < mineSinceMs) void count(membership)
    },
    stop: () => {
      stopping.abort()
    },
  }
}

const gaugesOf = (metrics: Metrics) => [
  metrics.capacityMovingCpu,
  metrics.capacityMovingMemory,
  metrics.capacityMovingPods,
  metrics.capacityFreeCpu,
  metrics.capacityFreeMemory,
  metrics.capacityUnplaced,
]

function show(metrics: Metrics, room: string, { moving, free, unplaced }: Capacity): void {
  metrics.capacityMovingCpu.set({ room }, moving.cpuMilli / 1_000)
  metrics.capacityMovingMemory.set({ room }, moving.memoryBytes)
  metrics.capacityMovingPods.set({ room }, moving.pods)
  metrics.capacityFreeCpu.set({ room }, free.cpuMilli / 1_000)
  metrics.capacityFreeMemory.set({ room }, free.memoryBytes)
  metrics.capacityUnplaced.set({ room }, unplaced.length)
}

interface RoomAtRisk {
  readonly room: string
  readonly lost: ReadonlySet<string>
  readonly fenced: ReadonlySet<string>
}

/** Rooms that still run something, as long as another room does too: the last one is never fenced. */
function roomsAtRisk({ members }: Membership): readonly RoomAtRisk[] {
  const running = members.filter(({ standing }) => standing !== 'fenced')
  const fenced = new Set<string>(members.filter(({ standing }) => standing === 'fenced').map(({ node }) => node))
  const rooms = [...Map.groupBy(running, ({ room }) => room)]
  if (rooms.length < 2) return []
  return rooms.map(([room, inRoom]) => ({ room, lost: new Set<string>(inRoom.map(({ node }) => node)), fenced }))
}

/** Two lists, in pages, of which a few fields are kept. */
async function readCluster(
  client: KubeClient,
  signal: AbortSignal,
): Promise<{ readonly nodes: readonly NodeView[]; readonly pods: readonly CountedPod[] }> {
  const nodes = await client.list(paths.nodes, { project: nodeView, limit: PAGE, signal })
  const pods = await client.list(paths.pods, {
    project: countedPod,
    fieldSelector: 'spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed',
    limit: PAGE,
    signal,
  })
  return { nodes: nodes.items, pods: pods.items }
}

function countedPod(object: unknown): CountedPod {
  const pod = podView(object)
  const { namespace, name, nodeName, priority, requests, tolerations } = pod
  const optedOut = (pod.annotations[optOutAnnotation] ?? 'false') !== 'false'
  return { namespace, name, nodeName, priority, requests, tolerations, staysBehind: skipReason(pod, optedOut) !== undefined }
}
