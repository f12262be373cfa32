/** Everything that can be configured of an agent, with units and defaults; docs/configuration.md is made from it. Pure. */
import * as z from 'zod/mini'
import {
  field,
  file,
  fileOr,
  group,
  host,
  hostOr,
  milliseconds,
  name,
  nameOr,
  oneOf,
  optionalFile,
  pathName,
  port,
  portOr,
  share,
  textOr,
  whole,
  yesOrNo,
} from './fields.ts'

const heartbeatPath = field(
  z.strictObject({
    name: pathName('Name of the path (`node`, `storage`): the same on every node, as packets of one path are refused on another.'),
    listenHost: hostOr('0.0.0.0', 'Local address to listen on for heartbeats.'),
    listenPort: port('UDP port to listen on.'),
    advertiseHost: field(
      z.exactOptional(z.string().check(z.minLength(1), z.maxLength(253))),
      'Address under which the other nodes reach this one. Default: `listenHost`; needed where that is a wildcard.',
      'an IP address or host name',
    ),
    advertisePort: field(
      z.exactOptional(z.int().check(z.minimum(1), z.maximum(65_535))),
      'Port under which the other nodes reach this one. Default: `listenPort`.',
      'a port number from 1 to 65535',
    ),
  }),
  'One heartbeat path.',
  'a mapping of the fields listed for it',
)

const peerAddress = field(
  z.strictObject({
    path: pathName('Name of the path.'),
    host: host('Address of the peer on this path.'),
    port: port('UDP port of the peer on this path.'),
  }),
  'One address of a peer.',
  'a mapping of the fields listed for it',
)

const keys = field(
  z.strictObject({
    file: file(
      'The key that authenticates heartbeats: at least 32 bytes, the same on every node, not readable by others. Read again when it changes.',
    ),
    previousFile: optionalFile('The key before, accepted while a new one is rolled out.'),
  }),
  'Authentication of heartbeats.',
  'a mapping of the fields listed for it',
)

const timings = group(
  {
    heartbeatMs: milliseconds(500, 'A heartbeat goes to every voter on every path this often.', 20, 60_000),
    permitMs: milliseconds(5000, 'How long an acknowledged heartbeat lets a node run, counted from its sending (T_permit).', 100),
    detectMs: milliseconds(3000, 'A room in which nothing showed life for so long is suspected (T_detect).', 60),
    detectNodeMs: milliseconds(
      20_000,
      'A single node that was silent for so long is suspected (T_detectNode): its agent may only be restarting.',
      60,
    ),
    arbitrationDelayMs: milliseconds(1500, 'How long the room that is not preferred waits before it asks the witness.', 0),
    killMs: milliseconds(2000, 'A kill or pause that is not verified within this reboots the node (T_kill).', 50),
    lingerMs: milliseconds(3000, 'An accepted value that nobody learned for so long is finished or replaced by others.', 60),
    attemptMs: milliseconds(2000, 'A proposal that is not answered within this ends.', 50),
    witnessReadMs: milliseconds(1000, 'The witness is read this often.', 50),
    witnessShiftMs: milliseconds(
      60_000,
      'The witness loses its vote after being unreachable for so long while both rooms are in contact.',
      100,
    ),
    witnessRecentMs: milliseconds(30_000, 'A voter that had an answer of the witness within this vetoes taking its vote away.', 100),
    witnessReturnMs: milliseconds(10_000, 'The witness gets its vote back after being reachable and current for so long.', 100),
    settleMs: milliseconds(5000, 'A node votes again after being heard and in sync for so long.', 50),
    clockRateError: share(
      0.09,
      'How wrong a monotonic clock may run, as a share (r): 0.09 where chrony or ntpd may slew it, 0.001 where slewing is capped.',
      0,
      0.5,
    ),
    ioResidueMs: milliseconds(1000, 'I/O that may still be under way after a node was reset (R).', 0),
    apiCallMs: milliseconds(
      15_000,
      'How long one call to the API server may take: then this agent and the server give it up. Quarantine after an un-fence waits twice as long beside the permit.',
      100,
    ),
    restartGraceMs: milliseconds(2000, 'An agent restarted in the same boot has so long to get a permit before it pauses what runs.', 0),
    lateMs: milliseconds(
      1000,
      'An agent whose own timers ran later than this accuses nobody until it has listened for detectMs again.',
      10,
    ),
  },
  'Times of the protocol (docs/protocol/README.md). The same on every node: one node with a longer permit breaks the `timed` proof of the others.',
)

const witness = field(
  z._default(
    z.discriminatedUnion('kind', [
      field(z.strictObject({ kind: z.literal('none') }), 'No witness: the preferred room of the membership wins a tie.', 'kind alone'),
      field(
        z.strictObject({
          kind: z.literal('http'),
          url: field(
            z.string().check(z.regex(/^https:\/\/[^/@\s]+(?:\/[^?#\s]*)?$/)),
            'Address of the bundled witness, `https://host:port`.',
            'an https:// address without user name, password, query or fragment',
          ),
          caFile: file('The certificate authority that signed the witness’s certificate, PEM.'),
          tokenFile: file('The bearer token of the witness. Read again when it changes.'),
          timeoutMs: milliseconds(1000, 'How long one call to the witness may take.', 50, 60_000),
        }),
        'The bundled witness over HTTPS.',
        'a mapping of the fields listed for it',
      ),
    ]),
    { kind: 'none' },
  ),
  'The third vote, outside both rooms.',
  'a mapping with kind: none or kind: http',
)

const watchdog = field(
  z._default(
    z.discriminatedUnion('kind', [
      field(z.strictObject({ kind: z.literal('none') }), 'No watchdog: no `timed` proof for this node.', 'kind alone'),
      field(
        z.strictObject({
          kind: z.literal('device'),
          device: fileOr('/dev/watchdog', 'The device that is written to.'),
          timeoutFile: fileOr('/sys/class/watchdog/watchdog0/timeout', 'Where the kernel says the timeout, whole seconds.'),
          nowayoutFile: optionalFile('Where the kernel says whether closing disarms it (`/sys/class/watchdog/watchdog0/nowayout`).'),
        }),
        'A kernel watchdog.',
        'a mapping of the fields listed for it',
      ),
    ]),
    { kind: 'none' },
  ),
  'The timer that resets this node when the agent no longer pets it.',
  'a mapping with kind: none or kind: device',
)

const command = (text: string) =>
  field(z._default(z.array(z.string().check(z.minLength(1))), []), text, 'a list of strings: the program and its arguments')

const containment = group(
  {
    form: oneOf(
      ['cgroup', 'processGroup'],
      'cgroup',
      'How workloads are paused and killed: cgroup v2 (`cgroup.freeze`, `cgroup.kill`) or signals to process groups.',
    ),
    kubeletDirectory: fileOr(
      '/var/lib/kubelet',
      'The kubelet’s root directory, where the pods to contain are found without the API server.',
    ),
    cgroupRoot: fileOr('/sys/fs/cgroup', 'Where cgroup v2 is mounted.'),
    rebootMethod: oneOf(
      ['sysrq', 'command', 'none'],
      'sysrq',
      'How a node that cannot be contained is rebooted; `none` leaves it to the watchdog.',
    ),
    rebootCommand: command('The command of `rebootMethod: command`.'),
  },
  'Making this node harmless.',
)

const drbd = group(
  {
    program: textOr(/^(?:\/[^\0]*|[A-Za-z0-9_-]+)$/, 'drbdsetup', 'The drbdsetup program.', 'a program name, or an absolute path'),
    procDrbd: fileOr('/proc/drbd', 'Where the kernel module says its version; absent: no DRBD on this node.'),
    usermodeHelperFile: fileOr(
      '/sys/module/drbd/parameters/usermode_helper',
      'Where the module says its fence helper; freeze mode needs `disabled`.',
    ),
    readEveryMs: milliseconds(1000, 'DRBD’s state is read this often.', 50),
    staleReads: oneOf(['wait', 'allow'], 'wait', 'Whether a fence waits until the lost room’s guests can no longer read old contents.'),
  },
  'DRBD on this node.',
)

const podSelector = field(
  z.strictObject({
    namespace: field(z.exactOptional(z.string().check(z.minLength(1))), 'Namespace of the pods. Default: every namespace.', 'a namespace'),
    labels: field(
      z.record(z.string(), z.string()),
      'Labels that a pod must all have; an empty value means any value.',
      'a mapping of label to value, both texts',
    ),
  }),
  'Pods, by namespace and labels.',
  'a mapping of the fields listed for it',
)

const CONTROL_PODS: readonly z.output<typeof podSelector>[] = [
  { labels: { 'kubevirt.io': 'virt-api' } },
  { labels: { 'kubevirt.io': 'virt-controller' } },
  { labels: { 'app.kubernetes.io/component': 'linstor-csi-controller' } },
  { labels: { 'app.kubernetes.io/component': 'linstor-controller' } },
  { labels: { app: 'csi-controller' } },
  { namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } },
  { labels: { 'roomfence.io/control': '' } },
]

/** Names are those of the failover's own configuration: test/configuration.test.ts compares them, and the values. */
const failover = group(
  {
    controlPods: field(
      z._default(z.array(podSelector), [...CONTROL_PODS]),
      'Pods that are cleared before all others, in this order: without them nothing else comes back. Virtual machines are none, whatever their labels: their order is that of `roomfence.io/priority`.',
      'a list of {namespace, labels}',
    ),
    drbdDrivers: field(
      z._default(z.array(z.string().check(z.minLength(1))), ['linstor.csi.linbit.com']),
      'CSI drivers whose volumes are DRBD resources of the same name as the volume handle.',
      'a list of driver names',
    ),
    waveSize: whole(20, 'So many VMs are cleared at once, the most important first.', 1, 1000),
    waveReadinessGate: yesOrNo(false, 'Whether the next wave waits until the VMs of the one before run, or for waveReadyMs.'),
    waveReadyMs: milliseconds(120_000, 'The longest wait for a wave.', 1000),
    onceVms: oneOf(
      ['leave', 'restart'],
      'leave',
      'VMs with runStrategy Once: left as they failed, or started again by deleting the failed instance.',
    ),
    skipStartBackoff: yesOrNo(
      true,
      'Whether a VM that was starting when its node died is spared KubeVirt’s back-off of 10 s to 5 min, once.',
    ),
    touchAfterMs: milliseconds(
      5000,
      'An instance that is still Running without a pod is touched after so long, then after twice as long and so on, so that virt-controller looks at it again.',
      100,
    ),
    startSafetyNetMs: milliseconds(15_000, 'A RerunOnFailure VM without instance and without a queued start gets one after so long.', 100),
    vmDeadlineMs: milliseconds(600_000, 'A VM that does not run after so long is reported as failed.', 1000),
    volumeAttachmentDeadlineMs: milliseconds(60_000, 'A VolumeAttachment of a fenced node that stays for longer raises an event.', 1000),
    flapWindowMs: milliseconds(
      21_600_000,
      'A node that was fenced and un-fenced within this time before its present fence flaps: its next un-fence has to wait.',
      1000,
      2_592_000_000,
    ),
    unfenceBackoffMs: milliseconds(300_000, 'The first such wait, from the fence on; twice as long with every further round.', 0),
    unfenceBackoffMaxMs: milliseconds(3_600_000, 'The longest such wait. `force` in the request overrides it.', 0, 86_400_000),
    maxConcurrency: whole(24, 'Calls to the API server under way at once.', 1, 500),
    lookEveryMs: milliseconds(5000, 'The longest pause between two looks at the cluster while something waits.', 100),
    events: yesOrNo(true, 'Whether Kubernetes Events are written.'),
    capacityEveryMs: milliseconds(
      300_000,
      'How often the coordinator counts what a room’s loss would move, and whether the other rooms have a place for it: two lists in pages.',
      1000,
    ),
    maxFencedShare: share(0.5, 'At most this share of the cluster’s nodes is ever fenced, all fences together.', 0.01, 1),
    maxFencedShareOfRoom: share(0.5, 'At most this share of a room’s nodes is fenced one by one while the room lives.', 0.01, 1),
  },
  'Executing a fence on the cluster.',
)

const LABEL = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/

export const configurationSchema = z.strictObject({
  node: name('Name of this node in Kubernetes (`spec.nodeName` by the downward API).'),
  cluster: group(
    {
      namespace: nameOr('roomfence', 'Namespace of roomfence’s own objects.'),
      roomLabel: textOr(LABEL, 'topology.kubernetes.io/zone', 'The node label whose value is the room.', 'a label key'),
      kubeconfig: textOr(/^(?:\/[^\0]*)?$/, '', 'Kubeconfig file; empty: the service account of the pod.', 'an absolute path, or empty'),
    },
    'The Kubernetes cluster.',
  ),
  paths: field(
    z.array(heartbeatPath).check(z.minLength(1), z.maxLength(4)),
    'The networks over which heartbeats go; two that share no switch are better than one.',
    'a list of 1 to 4 paths',
  ),
  peerAddresses: field(
    z._default(z.record(z.string(), z.array(peerAddress)), {}),
    'Addresses of peers by node name, instead of those in the membership.',
    'a mapping of node name to a list of {path, host, port}',
  ),
  keys,
  timings,
  witness,
  stateDirectory: fileOr(
    '/var/lib/roomfence',
    'Where the agent remembers what it promised. Local disk, one agent alone, never copied or restored.',
  ),
  watchdog,
  containment,
  drbd,
  bootIdFile: fileOr('/proc/sys/kernel/random/boot_id', 'Where the kernel says which boot this is.'),
  failover,
  observe: group(
    {
      host: hostOr('0.0.0.0', 'Address of /metrics, /healthz and /readyz.'),
      port: portOr(9810, 'Port of /metrics, /healthz and /readyz.'),
    },
    'What others can watch.',
  ),
  log: group(
    { level: oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal'], 'info', 'Lines below this level are left out.') },
    'Logs, JSON lines on stdout.',
  ),
  isDryRun: yesOrNo(false, 'Decide and record, but propose nothing, contain nothing and touch nothing.'),
})

type Frozen<T> = T extends readonly (infer E)[] ? readonly Frozen<E>[] : T extends object ? { readonly [K in keyof T]: Frozen<T[K]> } : T

export type Configuration = Frozen<z.output<typeof configurationSchema>>

/** The bundled witness: a small server outside both rooms. */
export const witnessSchema = z.strictObject({
  listen: group(
    {
      host: hostOr('0.0.0.0', 'Address to listen on.'),
      port: portOr(9811, 'TCP port to listen on; 0 is not allowed: agents must know it.'),
    },
    'Where agents reach the witness.',
  ),
  tlsCertFile: file('Certificate (chain) of the witness, PEM. Read again when it changes.'),
  tlsKeyFile: file('Private key of the certificate, PEM.'),
  tokenFile: file('The bearer token that agents must show: at least 16 characters. Read again when it changes.'),
  stateDirectory: fileOr(
    '/var/lib/roomfence-witness',
    'Where the register is kept. Local disk, one witness alone, never restored from a backup.',
  ),
  log: group(
    { level: oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal'], 'info', 'Lines below this level are left out.') },
    'Logs, JSON lines on stdout.',
  ),
})

export type WitnessConfiguration = Frozen<z.output<typeof witnessSchema>>
