/** What the failover must do, cut into its parts: each must have at least one line. The order is that of the table in docs/failover-test-matrix.md. */

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
  transaction: {
    plan: 'the plan is ordered and explained, and carrying it out twice does no more than once',
    'fence-object':
      'a Fence object, cluster-scoped, with schema, status subresource and printer columns, shows every step, workload, hold and time',
    'written-first': 'what will be done is written down before it is done',
    resumed: 'another agent goes on after the first was killed at any step',
  },
  order: {
    'fenced-taint': 'all nodes tainted roomfence.io/fenced at commit',
    'out-of-service-taint': 'out-of-service=roomfence:NoSchedule node by node, after the proof of its storage workloads',
    'foreign-taints': 'taints under the resourceVersion; foreign ones kept, only ours ever removed',
    'before-any-delete': 'both taints before any delete there',
    'held-immune': 'held pods made immune first, and nothing starts them long past Kubernetes’ own eviction',
    'control-pods-first': 'control pods first',
    'vm-waves': 'then VMs by priority: annotation, else PriorityClass',
    'wave-size': 'wave size and readiness gate can be set; 20 VMs a wave by default',
    'stateful-then-rest': 'then other stateful pods, then the rest',
    'uid-preconditions': 'deletes under uid preconditions',
    'gone-or-replaced': '404 and 409 understood',
    concurrency: 'bounded concurrency that adapts to 429 and latency; Retry-After honoured',
  },
  skips: {
    mirror: 'mirror pods',
    daemonset: 'DaemonSet pods',
    'tolerates-everything': 'pods that tolerate everything, or our taints',
    'opted-out': 'opted-out pods and VMs',
    held: 'held workloads',
    jobs: 'Job pods get phase Failed first',
    finalizers: 'finalizers of others are never stripped: reported',
  },
  kubevirt: {
    always: 'runStrategy Always',
    'rerun-on-failure': 'runStrategy RerunOnFailure',
    manual: 'runStrategy Manual',
    once: 'runStrategy Once',
    halted: 'runStrategy Halted',
    'wait-as-receiver': 'runStrategy WaitAsReceiver',
    'hot-plug': 'hot-plugged volumes',
    'migration-source': 'migration whose source is in the lost room',
    'migration-target': 'migration whose target is in the lost room',
    leases: 'leader Leases of fenced holders are released',
    'virt-api-stale': 'virt-api’s endpoint stale or away',
    'start-backoff': 'a VM that was starting when the room died',
    'bare-instance': 'instances without a VM',
    'pools-and-sets': 'VM pools and replica sets',
    'controllers-lost': 'virt-api or virt-controller in the lost room, or away',
    'no-kubevirt': 'KubeVirt not installed at all',
    followed: 'each VM followed by uid until Running on a survivor, or held or failed with a reason',
  },
  volumes: {
    attachments: 'VolumeAttachments watched until gone',
    deadline: 'told of past a deadline',
    'access-modes': 'ReadWriteOnce and ReadWriteMany told apart',
    claims: 'which volume a claim has',
  },
  'control-plane': {
    unreachable: 'API server unreachable: tried for ever with back-off, the fence kept',
    stale: 'reachable but stale after an outage: Ready and Leases not believed until fresh',
    'rolled-back': 'rolled back: the fence written again',
    slow: 'slow',
    forbidden: '403: the missing rule is named',
    webhooks: 'webhook time-outs',
  },
  brakes: {
    brakes:
      'the brakes: never both rooms, the share of the cluster, no majority, paused, maintenance, dry run, a control plane that is away while the nodes are alive',
    'capacity-before': 'requests of what would move against what the survivors can take, as a metric before anything happens',
    'unplaced-after': 'an explicit list of what was not placed, after',
  },
  unfence: {
    checks: 'un-fence with its checks',
    room: 'of a room',
    node: 'of one node',
    'no-failback': 'no failback',
    flapping: 'a flapping room: back-off, told',
  },
  'single-node': {
    'same-path': 'a node of a healthy room by the same path',
    'own-brake': 'its own brake',
  },
} as const satisfies Record<Topic, Readonly<Record<string, string>>>

export type Part = { [T in Topic]: `${T}/${keyof (typeof partsOf)[T] & string}` }[Topic]

/** Each part with its words. */
export const parts: ReadonlyMap<Part, string> = new Map(
  Object.entries(partsOf).flatMap(([topic, of]) => Object.entries(of).map(([part, words]) => [`${topic}/${part}` as Part, words] as const)),
)

export const topicOf = (part: Part): Topic => part.slice(0, part.indexOf('/')) as Topic
