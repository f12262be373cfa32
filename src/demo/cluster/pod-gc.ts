/** Stand-in of the pod garbage collector: every 20 s it ends the Terminating pods of out-of-service nodes, and the pods of nodes that are gone. */
import { amend, isOutOfService, isPodFinal, isReady, isTerminating, locationOf, type Pod, readAll, withCondition } from './objects.ts'
import { type ClusterContext, every, type Stop, timestamp } from './work-queue.ts'

const PERIOD_MS = 20_000
const QUARANTINE_MS = 40_000

export function startPodGc(context: ClusterContext): Stop {
  const { store, clock } = context
  const missingSince = new Map<string, number>()

  const end = (pod: Pod, isOrphan: boolean): void => {
    const message = 'PodGC: node no longer exists'
    if (!isPodFinal(pod)) {
      amend(store, 'pods', locationOf(pod), (ended) => {
        const condition = { type: 'DisruptionTarget', status: 'True', reason: 'DeletionByPodGC', message } as const
        const conditions = isOrphan ? withCondition(ended.status?.conditions, condition, timestamp(context)) : ended.status?.conditions
        ended.status = { ...ended.status, phase: 'Failed', ...(conditions === undefined ? {} : { conditions }) }
      })
    }
    // By name and without a precondition, as the real one.
    store.remove('pods', pod.metadata.namespace, pod.metadata.name, { gracePeriodSeconds: 0 })
  }

  const collect = (): void => {
    const nodes = new Map(readAll(store, 'nodes').map((node) => [node.metadata.name, node]))
    for (const name of missingSince.keys()) if (nodes.has(name)) missingSince.delete(name)
    for (const pod of readAll(store, 'pods')) {
      const { nodeName } = pod.spec
      if (nodeName === undefined) continue
      const node = nodes.get(nodeName)
      if (node === undefined) {
        const sinceMs = missingSince.get(nodeName) ?? clock.nowMs()
        missingSince.set(nodeName, sinceMs)
        if (clock.nowMs() - sinceMs >= QUARANTINE_MS * context.timeFactor) end(pod, true)
      } else if (isTerminating(pod) && !isReady(node) && isOutOfService(node)) {
        end(pod, false)
      }
    }
  }
  return every(context, PERIOD_MS, collect, 25)
}
