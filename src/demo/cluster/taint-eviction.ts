/**
 * Stand-in of the taint eviction controller: NoExecute taints delete what does not tolerate them, by name and late.
 *
 * The lateness is the point (measured on a real control plane): the delete was decided for one pod and falls on whichever has its name then.
 */
import { amend, type Node, type Pod, read, readAll, type Taint, withCondition } from './objects.ts'
import { isTolerationFor, toleratesTaint } from './placement.ts'
import { type ClusterContext, later, type Stop, stopAll, timestamp, watch } from './work-queue.ts'

/** A client of 20 requests/s with a burst of 30, and three requests per pod. */
const REQUESTS_PER_SECOND = 20
const BURST = 30
const REQUESTS_PER_POD = 3
/** What was seen between the taint and the delete even of the first pods in a cluster that also writes their Events. */
const BASE_LATENCY_MS = 700

/** How long a pod may stay: 0 = goes now, undefined = for ever, else ms (the shortest of the tolerations used). */
export function allowedStayMs(pod: Pod, taints: readonly Taint[]): number | undefined {
  const evicting = taints.filter(({ effect }) => effect === 'NoExecute')
  if (evicting.length === 0) return undefined
  const tolerations = pod.spec.tolerations ?? []
  if (evicting.some((taint) => !toleratesTaint(tolerations, taint))) return 0
  const used = tolerations.filter((toleration) => evicting.some((taint) => isTolerationFor(toleration, taint)))
  const seconds = used.flatMap(({ tolerationSeconds }) => (tolerationSeconds === undefined ? [] : [Math.max(0, tolerationSeconds)]))
  return seconds.length === 0 ? undefined : Math.min(...seconds) * 1_000
}

export function startTaintEviction(context: ClusterContext): Stop {
  const { store } = context
  /** Pods whose stay has an end, by uid. What is decided already cannot be called back; what only waits can. */
  const leaving = new Map<string, { cancel: Stop; isDecided: boolean }>()
  let tokens = BURST
  let refilledAtMs = context.clock.nowMs()
  /** Takes the requests of one pod; ms of the real components' time until the client's limiter lets them through. */
  const reserveMs = (): number => {
    const nowMs = context.clock.nowMs()
    tokens = Math.min(BURST, tokens + ((nowMs - refilledAtMs) / context.timeFactor / 1_000) * REQUESTS_PER_SECOND) - REQUESTS_PER_POD
    refilledAtMs = nowMs
    return tokens >= 0 ? 0 : (-tokens * 1_000) / REQUESTS_PER_SECOND
  }

  const evict = (uid: string, namespace: string, name: string): void => {
    const cancel = later(context, BASE_LATENCY_MS + reserveMs(), () => {
      leaving.delete(uid)
      const message = 'Taint manager: deleting due to NoExecute taint'
      const condition = { type: 'DisruptionTarget', status: 'True', reason: 'DeletionByTaintManager', message } as const
      amend(store, 'pods', { namespace, name }, (pod) => {
        pod.status = { ...pod.status, conditions: withCondition(pod.status?.conditions, condition, timestamp(context)) }
      })
      // By name alone, with the pod's own grace: as the real one does it.
      if (store.get('pods', namespace, name) !== undefined) store.remove('pods', namespace, name)
    })
    leaving.set(uid, { cancel, isDecided: true })
  }

  const judge = (pod: Pod, node: Node): void => {
    const { uid, name, namespace = '' } = pod.metadata
    const known = leaving.get(uid)
    if (known?.isDecided === true) return
    const stayMs = allowedStayMs(pod, node.spec.taints ?? [])
    if (stayMs === undefined) {
      known?.cancel()
      leaving.delete(uid)
    } else if (stayMs === 0) {
      known?.cancel()
      if (pod.metadata.deletionTimestamp === undefined) evict(uid, namespace, name)
    } else if (known === undefined) {
      const cancel = later(context, stayMs, () => evict(uid, namespace, name))
      leaving.set(uid, { cancel, isDecided: false })
    }
  }

  const evicts = (node: Node): boolean => (node.spec.taints ?? []).some(({ effect }) => effect === 'NoExecute')
  const tainted = new Set<string>()
  const stopWatch = watch(store, ['nodes', 'pods'], ({ type, plural, object }) => {
    if (plural === 'nodes') {
      const node = object as Node
      const { name } = node.metadata
      const isTainted = type !== 'DELETED' && evicts(node)
      if (!isTainted && !tainted.has(name)) return
      if (isTainted) tainted.add(name)
      else tainted.delete(name)
      for (const pod of readAll(store, 'pods')) if (pod.spec.nodeName === name) judge(pod, node)
      return
    }
    const pod = object as Pod
    if (type === 'DELETED') {
      const known = leaving.get(pod.metadata.uid)
      if (known !== undefined && !known.isDecided) {
        known.cancel()
        leaving.delete(pod.metadata.uid)
      }
      return
    }
    if (pod.spec.nodeName === undefined || !tainted.has(pod.spec.nodeName)) return
    const node = read(store, 'nodes', undefined, pod.spec.nodeName)
    if (node !== undefined) judge(pod, node)
  })
  return stopAll(stopWatch, () => {
    for (const { cancel } of leaving.values()) cancel()
  })
}
