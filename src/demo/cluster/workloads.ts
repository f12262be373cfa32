/** Stand-ins of the workload controllers in their thinnest useful form: Deployment, ReplicaSet, StatefulSet, DaemonSet and Job. */
import { createHash } from 'node:crypto'
import {
  amend,
  conditionOf,
  controllerOf,
  isPodFinal,
  isReady,
  isTerminating,
  keyOf,
  locationOf,
  type Node,
  ownedBy,
  type Pod,
  read,
  readAll,
  splitKey,
  type Toleration,
  type Workload,
} from './objects.ts'
import { matchesNodeSelector, toleratesTaint } from './placement.ts'
import { type ClusterContext, createWorkQueue, type Stop, stopAll, watch } from './work-queue.ts'

const LATENCY_MS = 50
const JOB_FINALIZER = 'batch.kubernetes.io/job-tracking'

type WorkloadPlural = 'deployments' | 'replicasets' | 'statefulsets' | 'daemonsets' | 'jobs'

export function startWorkloads(context: ClusterContext): Stop {
  const { store } = context

  const podsOf = (owner: Workload): Pod[] =>
    readAll(store, 'pods', owner.metadata.namespace).filter((pod) => controllerOf(pod)?.uid === owner.metadata.uid)

  const createPod = (owner: Workload, metadata: object, spec: object = {}): void => {
    const { template } = owner.spec
    store.create('pods', {
      metadata: {
        namespace: owner.metadata.namespace,
        ...template.metadata,
        ownerReferences: [ownedBy(owner)],
        ...metadata,
      },
      spec: { ...template.spec, ...spec },
    })
  }

  const setStatus = (plural: WorkloadPlural, owner: Workload, status: Record<string, unknown>): void => {
    amend(store, plural, locationOf(owner), (changed) => {
      changed.status = { ...changed.status, ...status, observedGeneration: changed.metadata.generation ?? 1 }
    })
  }

  const deployment = (owner: Workload): void => {
    const { name, namespace } = owner.metadata
    const hash = createHash('sha256').update(JSON.stringify(owner.spec.template)).digest('hex').slice(0, 10)
    const sets = readAll(store, 'replicasets', namespace).filter((set) => controllerOf(set)?.uid === owner.metadata.uid)
    const current = sets.find((set) => set.metadata.labels?.['pod-template-hash'] === hash)
    const replicas = owner.spec.replicas ?? 1
    const labels = { ...owner.spec.template.metadata?.labels, 'pod-template-hash': hash }
    if (current === undefined) {
      store.create('replicasets', {
        metadata: { name: `${name}-${hash}`, namespace, labels, ownerReferences: [ownedBy(owner)] },
        spec: {
          replicas,
          selector: { matchLabels: labels },
          template: { ...owner.spec.template, metadata: { ...owner.spec.template.metadata, labels } },
        },
      })
    }
    for (const set of sets) {
      const wanted = set === current ? replicas : 0
      amend(store, 'replicasets', locationOf(set), (scaled) => {
        scaled.spec.replicas = wanted
      })
    }
    const { readyReplicas = 0 } = (current?.status ?? {}) as { readyReplicas?: number }
    setStatus('deployments', owner, { replicas, readyReplicas, availableReplicas: readyReplicas })
  }

  /** A pod that is Terminating or has ended counts no longer, so its replacement comes at once. */
  const replicaSet = (owner: Workload): void => {
    const active = podsOf(owner).filter((pod) => !isTerminating(pod) && !isPodFinal(pod))
    const replicas = owner.spec.replicas ?? 1
    for (let missing = replicas - active.length; missing > 0; missing -= 1) createPod(owner, { generateName: `${owner.metadata.name}-` })
    for (const pod of active.slice(replicas)) store.remove('pods', pod.metadata.namespace, pod.metadata.name, { uid: pod.metadata.uid })
    setStatus('replicasets', owner, { replicas: active.length, readyReplicas: active.filter(isReady).length })
  }

  /** Same names, at most one of each: while an object of that name exists, Terminating or not, nothing is created. */
  const statefulSet = (owner: Workload): void => {
    const { name, namespace } = owner.metadata
    const replicas = owner.spec.replicas ?? 1
    const isOrdered = owner.spec.podManagementPolicy !== 'Parallel'
    for (let ordinal = 0; ordinal < replicas; ordinal += 1) {
      const podName = `${name}-${ordinal}`
      const pod = read(store, 'pods', namespace, podName)
      if (pod === undefined) {
        const claims = (owner.spec.volumeClaimTemplates ?? []).map(({ metadata }) => ({
          name: metadata.name,
          persistentVolumeClaim: { claimName: `${metadata.name}-${podName}` },
        }))
        const labels = { ...owner.spec.template.metadata?.labels, 'statefulset.kubernetes.io/pod-name': podName }
        createPod(
          owner,
          { name: podName, labels },
          { hostname: podName, volumes: [...(owner.spec.template.spec.volumes ?? []), ...claims] },
        )
      } else if (isPodFinal(pod) && !isTerminating(pod)) {
        store.remove('pods', namespace, podName, { uid: pod.metadata.uid })
      }
      const isUp = pod !== undefined && isReady(pod) && !isTerminating(pod) && pod.status?.phase === 'Running'
      if (isOrdered && !isUp) break
    }
    const pods = podsOf(owner)
    for (const pod of pods) {
      const ordinal = Number(pod.metadata.name.slice(name.length + 1))
      if (ordinal >= replicas && !isTerminating(pod)) store.remove('pods', namespace, pod.metadata.name, { uid: pod.metadata.uid })
    }
    setStatus('statefulsets', owner, { replicas: pods.length, readyReplicas: pods.filter(isReady).length })
  }

  const daemonSet = (owner: Workload): void => {
    const pods = podsOf(owner)
    const nodes = readAll(store, 'nodes')
    for (const node of nodes) {
      const here = pods.filter((pod) => daemonNodeOf(pod) === node.metadata.name)
      for (const pod of here) if (isPodFinal(pod) && !isTerminating(pod)) store.remove('pods', pod.metadata.namespace, pod.metadata.name)
      // One that is Terminating still has the node.
      if (here.length === 0 && canRunDaemon(owner, node)) createDaemonPod(owner, node)
    }
    setStatus('daemonsets', owner, { currentNumberScheduled: pods.length, numberReady: pods.filter(isReady).length })
  }

  const createDaemonPod = (owner: Workload, node: Node): void => {
    const terms = [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [node.metadata.name] }] }]
    const affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } } }
    createPod(owner, { generateName: `${owner.metadata.name}-` }, { affinity, tolerations: daemonTolerations(owner) })
  }

  const job = (owner: Workload): void => {
    const pods = podsOf(owner)
    const waitsForPhase = owner.spec.podReplacementPolicy === 'Failed' || owner.spec.podFailurePolicy !== undefined
    for (const pod of pods) {
      if (!isPodFinal(pod) && !(isTerminating(pod) && !waitsForPhase)) continue
      const { status = {} } = read(store, 'jobs', owner.metadata.namespace, owner.metadata.name) ?? {}
      const counted = pod.status?.phase === 'Succeeded' ? 'succeeded' : 'failed'
      if (!(pod.metadata.finalizers ?? []).includes(JOB_FINALIZER)) continue
      if (!isIgnored(owner, pod)) setStatus('jobs', owner, { [counted]: Number(status[counted] ?? 0) + 1 })
      amend(store, 'pods', locationOf(pod), (tracked) => {
        tracked.metadata.finalizers = (tracked.metadata.finalizers ?? []).filter((name) => name !== JOB_FINALIZER)
      })
    }
    const { status = {} } = read(store, 'jobs', owner.metadata.namespace, owner.metadata.name) ?? {}
    const missing = (owner.spec.completions ?? 1) - Number(status['succeeded'] ?? 0)
    const active = pods.filter((pod) => !isPodFinal(pod) && (waitsForPhase || !isTerminating(pod)))
    if (missing <= 0) return setStatus('jobs', owner, { active: 0, conditions: [{ type: 'Complete', status: 'True' }] })
    if (Number(status['failed'] ?? 0) > (owner.spec.backoffLimit ?? 6)) {
      return setStatus('jobs', owner, { active: 0, conditions: [{ type: 'Failed', status: 'True', reason: 'BackoffLimitExceeded' }] })
    }
    if (active.length === 0)
      createPod(owner, { generateName: `${owner.metadata.name}-`, finalizers: [JOB_FINALIZER] }, { restartPolicy: 'Never' })
    setStatus('jobs', owner, { active: 1 })
  }

  const reconcilers: Readonly<Record<WorkloadPlural, (owner: Workload) => void>> = {
    deployments: deployment,
    replicasets: replicaSet,
    statefulsets: statefulSet,
    daemonsets: daemonSet,
    jobs: job,
  }
  const pluralOfKind: Readonly<Record<string, WorkloadPlural>> = {
    Deployment: 'deployments',
    ReplicaSet: 'replicasets',
    StatefulSet: 'statefulsets',
    DaemonSet: 'daemonsets',
    Job: 'jobs',
  }

  const queue = createWorkQueue(
    context,
    'workloads',
    (key) => {
      const [plural, rest = ''] = key.split(' ') as [WorkloadPlural, string?]
      const { namespace, name } = splitKey(rest)
      const owner = read(store, plural, namespace, name)
      if (owner !== undefined && !isTerminating(owner)) reconcilers[plural](owner)
    },
    LATENCY_MS,
  )
  const stopWatch = watch(store, ['pods', 'nodes', ...Object.values(pluralOfKind)], ({ plural, object }) => {
    if (plural === 'nodes') {
      for (const set of readAll(store, 'daemonsets')) queue.add(`daemonsets ${keyOf(set)}`)
      return
    }
    if (plural !== 'pods') queue.add(`${plural} ${keyOf(object)}`)
    const owner = controllerOf(object)
    const ownerPlural = owner === undefined ? undefined : pluralOfKind[owner.kind]
    if (owner !== undefined && ownerPlural !== undefined) queue.add(`${ownerPlural} ${object.metadata.namespace ?? ''}/${owner.name}`)
  })
  return stopAll(stopWatch, queue)
}

/** A rule of the Job's podFailurePolicy says that a pod with this condition counts as no failure. */
const isIgnored = (owner: Workload, pod: Pod): boolean =>
  pod.status?.phase === 'Failed' &&
  (owner.spec.podFailurePolicy?.rules ?? []).some(
    ({ action, onPodConditions = [] }) =>
      action === 'Ignore' && onPodConditions.some(({ type, status = 'True' }) => conditionOf(pod, type)?.status === status),
  )

const daemonNodeOf = (pod: Pod): string | undefined =>
  pod.spec.nodeName ??
  pod.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms[0]?.matchFields?.[0]?.values?.[0]

/** What every DaemonSet pod tolerates; out-of-service is not among it (daemonset_util.go). */
function daemonTolerations(owner: Workload): Toleration[] {
  const noExecute = ['not-ready', 'unreachable'].map((key) => ({ key, effect: 'NoExecute' }))
  const noSchedule = ['disk-pressure', 'memory-pressure', 'pid-pressure', 'unschedulable'].map((key) => ({ key, effect: 'NoSchedule' }))
  const standard = [...noExecute, ...noSchedule].map(({ key, effect }): Toleration => {
    return { key: `node.kubernetes.io/${key}`, operator: 'Exists', effect }
  })
  return [...(owner.spec.template.spec.tolerations ?? []), ...standard]
}

/** Not-ready nodes have a NoSchedule taint, which the controller looks past: their daemons are wanted. */
function canRunDaemon(owner: Workload, node: Node): boolean {
  const tolerations: Toleration[] = [
    ...daemonTolerations(owner),
    { key: 'node.kubernetes.io/not-ready', operator: 'Exists' },
    { key: 'node.kubernetes.io/unreachable', operator: 'Exists' },
  ]
  const { template } = owner.spec
  const isTainted = (node.spec.taints ?? []).some((taint) => taint.effect !== 'PreferNoSchedule' && !toleratesTaint(tolerations, taint))
  return !isTainted && matchesNodeSelector(node, template.spec)
}
