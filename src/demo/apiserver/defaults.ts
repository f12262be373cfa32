/** What kube-apiserver fills in on create (defaulting and built-in admission), for the kinds where someone reads it. */
import { isRecord } from './freeze.ts'
import type { Resource } from './resources.ts'
import type { KubeObject } from './objects.ts'

const record = (value: unknown): Record<string, unknown> => (isRecord(value) ? value : {})

/** Admission gives each pod five minutes on a node that is not ready or unreachable. */
const defaultTolerations = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'].map((key) => ({
  key,
  operator: 'Exists',
  effect: 'NoExecute',
  tolerationSeconds: 300,
}))

function pod(object: KubeObject): KubeObject {
  const spec = record(object['spec'])
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
      priority: 0,
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

export function withDefaults(resource: Resource, object: KubeObject): KubeObject {
  switch (resource.plural) {
    case 'pods':
      return pod(object)
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
