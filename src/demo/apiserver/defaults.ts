/** What kube-apiserver fills in on create (defaulting and built-in admission), for the kinds where someone reads it. */
import { isJsonObject } from './freeze.ts'
import type { Resource } from './resources.ts'
import type { KubeObject } from './objects.ts'

const record = (value: unknown): Record<string, unknown> => (isJsonObject(value) ? value : {})

/** The value of a PriorityClass by its name, if there is one. */
type PriorityOf = (className: string) => number | undefined

/** Admission gives each pod five minutes on a node that is not ready or unreachable. */
const defaultTolerations = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'].map((key) => ({
  key,
  operator: 'Exists',
  effect: 'NoExecute',
  tolerationSeconds: 300,
}))

function pod(object: KubeObject, valueOf: PriorityOf): KubeObject {
  const spec = record(object['spec'])
  const className = spec['priorityClassName']
  const priority = typeof className === 'string' ? (valueOf(className) ?? 0) : 0
  const tolerations = Array.isArray(spec['tolerations']) ? (spec['tolerations'] as unknown[]) : []
  const missing = defaultTolerations.filter(
    ({ key }) =>
      !tolerations.some((toleration) => {
        const { key: tolerated, effect } = record(toleration)
        return (tolerated === key || !tolerated) && (effect === 'NoExecute' || !effect)
      }),
  )
  return {
    ...object,
    spec: {
      restartPolicy: 'Always',
      terminationGracePeriodSeconds: 30,
      dnsPolicy: 'ClusterFirst',
      schedulerName: 'default-scheduler',
      serviceAccountName: 'default',
      enableServiceLinks: true,
      preemptionPolicy: 'PreemptLowerPriority',
      priority,
      securityContext: {},
      ...spec,
      tolerations: [...tolerations, ...missing],
    },
    status: { phase: 'Pending', qosClass: 'BestEffort', ...record(object['status']) },
  }
}

function namespace(object: KubeObject): KubeObject {
  const { labels, name } = object.metadata
  return {
    ...object,
    metadata: { ...object.metadata, labels: { 'kubernetes.io/metadata.name': name, ...labels } },
    spec: { finalizers: ['kubernetes'], ...record(object['spec']) },
    status: { phase: 'Active' },
  }
}

const withPhase = (object: KubeObject, phase: string): KubeObject => ({ ...object, status: { phase, ...record(object['status']) } })

export function withDefaults(resource: Resource, object: KubeObject, priorityOf: PriorityOf): KubeObject {
  switch (resource.plural) {
    case 'pods':
      return pod(object, priorityOf)
    case 'namespaces':
      return namespace(object)
    case 'volumeattachments':
      return { ...object, status: { attached: false, ...record(object['status']) } }
    case 'persistentvolumes': {
      const spec = { persistentVolumeReclaimPolicy: 'Retain', volumeMode: 'Filesystem', ...record(object['spec']) }
      return withPhase({ ...object, spec }, 'Pending')
    }
    case 'persistentvolumeclaims':
      return withPhase({ ...object, spec: { volumeMode: 'Filesystem', ...record(object['spec']) } }, 'Pending')
    case 'secrets':
      return { type: 'Opaque', ...object }
    default:
      return object
  }
}
