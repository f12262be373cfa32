/** Stand-in of the node lifecycle controller: a node not heard of goes Unknown, is tainted, its pods lose readiness. Zone rates are left out. */
import {
  amend,
  conditionOf,
  type Condition,
  isReady,
  type Lease,
  locationOf,
  type Node,
  read,
  readAll,
  type Taint,
  withCondition,
} from './objects.ts'
import { type ClusterContext, every, type Stop, stopAll, timestamp, watch } from './work-queue.ts'

const MONITOR_PERIOD_MS = 5_000
const GRACE_MS = 50_000
const LEASE_NAMESPACE = 'kube-node-lease'

const UNREACHABLE = 'node.kubernetes.io/unreachable'
const NOT_READY = 'node.kubernetes.io/not-ready'
const UNSCHEDULABLE = 'node.kubernetes.io/unschedulable'
const ownKeys = [UNREACHABLE, NOT_READY, UNSCHEDULABLE]

/** The taints this controller wants on a node, from its Ready condition and spec.unschedulable. */
function wantedTaints(node: Node): Taint[] {
  const ready = conditionOf(node, 'Ready')?.status
  const taints: Taint[] = []
  if (node.spec.unschedulable === true) taints.push({ key: UNSCHEDULABLE, effect: 'NoSchedule' })
  // A node that never had a status counts as not ready.
  const key = ready === 'Unknown' ? UNREACHABLE : ready === 'True' ? undefined : NOT_READY
  if (key !== undefined) taints.push({ key, effect: 'NoSchedule' }, { key, effect: 'NoExecute' })
  return taints
}

function taint(context: ClusterContext, node: Node): void {
  const wanted = wantedTaints(node)
  const current = node.spec.taints ?? []
  const isWanted = ({ key, effect }: Taint) => wanted.some((other) => other.key === key && other.effect === effect)
  const isPresent = ({ key, effect }: Taint) => current.some((other) => other.key === key && other.effect === effect)
  const kept = current.filter((candidate) => !ownKeys.includes(candidate.key) || isWanted(candidate))
  const added = wanted.filter((candidate) => !isPresent(candidate))
  if (kept.length === current.length && added.length === 0) return
  amend(context.store, 'nodes', locationOf(node), (tainted) => {
    const taints = [...kept, ...added.map((one) => ({ ...one, timeAdded: timestamp(context) }))]
    if (taints.length === 0) delete tainted.spec.taints
    else tainted.spec.taints = taints
  })
}

function markUnknown(context: ClusterContext, node: Node): void {
  const { store } = context
  const now = timestamp(context)
  amend(store, 'nodes', locationOf(node), (lost) => {
    let conditions = lost.status?.conditions
    for (const type of ['MemoryPressure', 'DiskPressure', 'PIDPressure', 'Ready']) {
      const heartbeat = conditionOf(lost, type)?.lastHeartbeatTime
      const next: Condition = {
        type,
        status: 'Unknown',
        reason: 'NodeStatusUnknown',
        message: 'Kubelet stopped posting node status.',
        ...(heartbeat === undefined ? {} : { lastHeartbeatTime: heartbeat }),
      }
      conditions = withCondition(conditions, next, now)
    }
    lost.status = { ...lost.status, ...(conditions === undefined ? {} : { conditions }) }
  })
  for (const pod of readAll(store, 'pods')) {
    if (pod.spec.nodeName !== node.metadata.name || !isReady(pod)) continue
    amend(store, 'pods', locationOf(pod), (lost) => {
      const conditions = withCondition(lost.status?.conditions, { type: 'Ready', status: 'False', lastProbeTime: null }, now)
      lost.status = { ...lost.status, conditions }
    })
  }
}

/** When this controller last saw a node's lease or Ready heartbeat move, on its own clock: wall clocks are never compared. */
interface Moves {
  readonly observe: (name: string, seen: { renewTime?: string | undefined; heartbeat?: string | undefined }) => void
  readonly lastAtMs: (name: string) => number | undefined
  readonly forget: (name: string) => void
}

function createMoves(nowMs: () => number): Moves {
  const lastMove = new Map<string, { atMs: number; renewTime: string; heartbeat: string }>()
  return {
    observe: (name, seen) => {
      const before = lastMove.get(name)
      const renewTime = seen.renewTime ?? before?.renewTime ?? ''
      const heartbeat = seen.heartbeat ?? before?.heartbeat ?? ''
      if (before?.renewTime === renewTime && before.heartbeat === heartbeat) return
      lastMove.set(name, { atMs: nowMs(), renewTime, heartbeat })
    },
    lastAtMs: (name) => lastMove.get(name)?.atMs,
    forget: (name) => void lastMove.delete(name),
  }
}

/** Not within the event: the write that is being told of must be over. */
function createTainting(context: ClusterContext): { readonly soon: (name: string) => void; readonly stop: Stop } {
  const { store, clock } = context
  const waiting = new Set<string>()
  let cancel: Stop | undefined
  return {
    soon: (name) => {
      waiting.add(name)
      cancel ??= clock.after(0, () => {
        cancel = undefined
        for (const one of waiting) {
          waiting.delete(one)
          const node = read(store, 'nodes', undefined, one)
          if (node !== undefined) taint(context, node)
        }
      })
    },
    stop: () => cancel?.(),
  }
}

export function startNodeLifecycle(context: ClusterContext): Stop {
  const { store, clock } = context
  const moves = createMoves(() => clock.nowMs())
  // Before the watch, which tells of what is there already.
  const tainting = createTainting(context)
  const stopWatch = watch(store, ['nodes', 'leases'], ({ type, plural, object }) => {
    const { name } = object.metadata
    if (plural === 'leases') {
      if (object.metadata.namespace === LEASE_NAMESPACE && type !== 'DELETED')
        moves.observe(name, { renewTime: (object as Lease).spec.renewTime })
      return
    }
    if (type === 'DELETED') return moves.forget(name)
    moves.observe(name, { heartbeat: conditionOf(object as Node, 'Ready')?.lastHeartbeatTime ?? 'none' })
    tainting.soon(name)
  })
  const monitor = (): void => {
    for (const node of readAll(store, 'nodes')) {
      const movedAtMs = moves.lastAtMs(node.metadata.name)
      const isLost = movedAtMs !== undefined && clock.nowMs() - movedAtMs > GRACE_MS * context.timeFactor
      if (isLost && conditionOf(node, 'Ready')?.status !== 'Unknown') markUnknown(context, node)
    }
  }
  return stopAll(stopWatch, every(context, MONITOR_PERIOD_MS, monitor, 25), tainting.stop)
}
