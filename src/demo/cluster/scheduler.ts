/** Stand-in of kube-scheduler: binds pending pods, the highest priority first. It looks at taints, never at a node's Ready condition. */
import {
  amend,
  conditionOf,
  csiVolumesOf,
  isPodFinal,
  isTerminating,
  locationOf,
  type Pod,
  read,
  readAll,
  withCondition,
  keyOf,
} from './objects.ts'
import { place } from './placement.ts'
import { type ClusterContext, createWorkQueue, type Stop, stopAll, timestamp, watch } from './work-queue.ts'

const isPending = (pod: Pod): boolean => (pod.spec.nodeName ?? '') === '' && !isTerminating(pod) && !isPodFinal(pod)

export function startScheduler(context: ClusterContext): Stop {
  const { store } = context

  const priorityOf = (pod: Pod): number => pod.spec.priority ?? 0

  const bind = (pod: Pod): void => {
    for (const { persistentVolumeClaim } of pod.spec.volumes ?? []) {
      if (persistentVolumeClaim === undefined) continue
      const claim = read(store, 'persistentvolumeclaims', pod.metadata.namespace, persistentVolumeClaim.claimName)
      if (claim === undefined) return refuse(pod, `persistentvolumeclaim "${persistentVolumeClaim.claimName}" not found`)
      if (claim.spec.volumeName === undefined) return refuse(pod, 'pod has unbound immediate PersistentVolumeClaims')
    }
    const onNode = new Map<string, Pod[]>()
    for (const other of readAll(store, 'pods')) {
      if (other.spec.nodeName === undefined || isPodFinal(other)) continue
      onNode.set(other.spec.nodeName, [...(onNode.get(other.spec.nodeName) ?? []), other])
    }
    const { node, message } = place(readAll(store, 'nodes'), pod, csiVolumesOf(store, pod), (name) => onNode.get(name) ?? [])
    if (node === undefined) return refuse(pod, message ?? '')
    const now = timestamp(context)
    // The binding subresource sets both in one write; here a watcher may see the name first, which kubelet does not mind.
    amend(store, 'pods', locationOf(pod), (bound) => {
      bound.spec.nodeName = node
      const conditions = withCondition(bound.status?.conditions, { type: 'PodScheduled', status: 'True', lastProbeTime: null }, now)
      bound.status = { phase: 'Pending', ...bound.status, conditions }
    })
  }

  const refuse = (pod: Pod, message: string): void => {
    const known = conditionOf(pod, 'PodScheduled')
    if (known?.reason === 'Unschedulable' && known.message === message) return
    amend(store, 'pods', locationOf(pod), (refused) => {
      const condition = { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message, lastProbeTime: null } as const
      refused.status = {
        phase: 'Pending',
        ...refused.status,
        conditions: withCondition(refused.status?.conditions, condition, timestamp(context)),
      }
    })
  }

  // One key: the choice of the next pod is among all that wait, as in the scheduler's priority queue.
  const refused = new Set<string>()
  const queue = createWorkQueue(
    context,
    'scheduler',
    () => {
      const candidates = readAll(store, 'pods').filter((pod) => isPending(pod) && !refused.has(pod.metadata.uid))
      const [next] = candidates.sort(
        (one, other) =>
          priorityOf(other) - priorityOf(one) ||
          one.metadata.creationTimestamp.localeCompare(other.metadata.creationTimestamp) ||
          keyOf(one).localeCompare(keyOf(other)),
      )
      if (next === undefined) return
      refused.add(next.metadata.uid)
      bind(next)
      queue.add('next')
    },
    10,
  )

  const stopWatch = watch(store, ['pods', 'nodes', 'persistentvolumeclaims', 'persistentvolumes'], ({ type, plural, object }) => {
    if (plural !== 'pods') {
      refused.clear()
    } else {
      const pod = object as Pod
      if (type === 'DELETED') refused.delete(pod.metadata.uid)
      // Room may have become free, or a pod is new; a pod's own refusal must not set it off again.
      if (type === 'DELETED' || isPodFinal(pod)) refused.clear()
      else if (!isPending(pod) || refused.has(pod.metadata.uid)) return
    }
    queue.add('next')
  })
  return stopAll(stopWatch, queue)
}
