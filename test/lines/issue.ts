/** What the failover must do, cut into its parts: each must have at least one line. The order is that of the table in docs/failover.md. */

export const topics = {
  transaction: 'The transaction and its record',
  order: 'Taints and order',
  skips: 'What is left alone',
  kubevirt: 'KubeVirt',
  volumes: 'Volumes',
  'control-plane': 'The control plane',
  brakes: 'Brakes and capacity',
  unfence: 'Un-fencing',
  'single-node': 'Single nodes',
} as const

export type Topic = keyof typeof topics

const partsOf = {
  transaction: ['explained-plan', 'fence-object', 'written-before-acting', 'resumed-at-any-step'],
  order: [
    'fenced-taint',
    'out-of-service-taint',
    'foreign-taints',
    'before-any-delete',
    'held-immune',
    'control-pods-first',
    'vm-waves',
    'stateful-then-rest',
    'uid-preconditions',
    'gone-or-replaced',
    'adaptive-concurrency',
  ],
  skips: ['mirror', 'daemonset', 'tolerates-everything', 'opted-out', 'held', 'jobs', 'finalizers'],
  kubevirt: [
    'always',
    'rerun-on-failure',
    'manual',
    'once',
    'halted',
    'wait-as-receiver',
    'hot-plug',
    'migration',
    'leases',
    'virt-api-away',
    'start-backoff',
    'bare-instance',
    'pools-and-sets',
    'controllers-lost',
    'no-kubevirt',
    'followed-by-uid',
  ],
  volumes: ['attachments-watched', 'attachment-deadline', 'access-modes'],
  'control-plane': ['unreachable', 'stale', 'rolled-back', 'slow', 'forbidden', 'webhooks'],
  brakes: ['brakes', 'capacity-before', 'unplaced-after'],
  unfence: ['checks', 'room', 'node', 'no-failback', 'flapping'],
  'single-node': ['same-path', 'own-brake'],
} as const satisfies Record<Topic, readonly string[]>

export type Part = { [T in Topic]: `${T}/${(typeof partsOf)[T][number]}` }[Topic]

export const parts: readonly Part[] = (Object.keys(partsOf) as Topic[]).flatMap((topic) =>
  partsOf[topic].map((part) => `${topic}/${part}` as Part),
)

export const topicOf = (part: Part): Topic => part.slice(0, part.indexOf('/')) as Topic
