/** The agent's metrics (docs/metrics.md lists them; a test compares). Base units, own registry. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'

/** Everything up to a VM that takes minutes to boot. */
const RECOVERY_BUCKETS = [1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600]

export type Metrics = ReturnType<typeof createMetrics>

export function createMetrics() {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 })
  const make = makerOf(registry)
  return {
    registry,
    ...standingMetrics(make),
    ...evidenceMetrics(make),
    ...protocolMetrics(make),
    ...storageMetrics(make),
    ...failoverMetrics(make),
    ...capacityMetrics(make),
    ...recoveryMetrics(make),
  }
}

type Maker = ReturnType<typeof makerOf>

const makerOf = (registry: Registry) => ({
  gauge: <L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Gauge<L>({ name: `roomfence_${name}`, help, labelNames: [...labelNames], registers: [registry] }),
  counter: <L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name: `roomfence_${name}`, help, labelNames: [...labelNames], registers: [registry] }),
  histogram: (name: string, help: string, buckets: readonly number[]) =>
    new Histogram({ name: `roomfence_${name}`, help, buckets: [...buckets], registers: [registry] }),
})

/** What the protocol knows. */
const standingMetrics = ({ gauge }: Maker) => ({
  epoch: gauge('epoch', 'Number of the membership that this node has learned; -1 before genesis.'),
  isInstalled: gauge(
    'epoch_installed',
    '1 when majorities of the votes before and of the present ones are known to have learned the epoch.',
  ),
  permitRemaining: gauge('permit_remaining_seconds', 'How long this node may still run if nobody acks any more; 0 or less: it may not.'),
  containment: gauge('containment', '1 for the level that this node is at: none, pause or kill.', ['level']),
  containmentVerified: gauge(
    'containment_verified',
    '1 when the present pause or kill was verified; 0 while it is not, and while there is none.',
  ),
  fencedNodes: gauge('fenced_nodes', 'Nodes fenced in the present epoch.'),
  fencingSuspended: gauge('fencing_suspended', '1 while an operator has suspended all fencing.'),
  nodesInMaintenance: gauge('nodes_in_maintenance', 'Nodes that an operator has put in maintenance.'),
  conflict: gauge('conflict', '1 when two memberships of the same epoch were seen: an operator must pick one.'),
  invariantBroken: gauge(
    'invariant_broken',
    '1 when this agent found an error of its own: its node is paused until the agent is restarted; the log and /status say what it was.',
  ),
  coordinator: gauge('coordinator', '1 while this agent executes fences.'),
})

/** What the protocol rests on: peers, witness, API server, watchdog. */
const evidenceMetrics = ({ gauge, counter }: Maker) => ({
  peerSilence: gauge('peer_silence_seconds', 'Time since a peer was last heard on any heartbeat path.', ['peer']),
  peerStorageConnected: gauge('peer_storage_connected', '1 while a DRBD connection to the peer is up.', ['peer']),
  packetsSent: counter('packets_sent_total', 'Packets sent by this process.'),
  packetsReceived: counter('packets_received_total', 'Packets taken by this process.'),
  packetsRefused: counter('packets_refused_total', 'Packets that were not believed, by reason.', ['reason']),
  witnessReachable: gauge('witness_reachable', '1 while the witness answers.'),
  witnessVoting: gauge('witness_voting', '1 while the witness has a vote in the present epoch.'),
  apiReachable: gauge('api_reachable', '1 while an API server answers that it is ready.'),
  watchdogArmed: gauge('watchdog_armed', '1 while the watchdog is open and petted by this agent.'),
  watchdogFailures: counter('watchdog_failures_total', 'Pets that the device did not take.'),
})

/** What the protocol does. */
const protocolMetrics = ({ counter, histogram }: Maker) => ({
  fences: counter('fences_total', 'Fences learned by this agent.'),
  vetoes: counter('vetoes_total', 'Vetoes of this voter and refusals of its own proposals.'),
  permitLosses: counter('permit_losses_total', 'Times this node lost its permit and paused.'),
  late: counter('late_total', 'Times this agent was late itself and lost the right to accuse.'),
  persistSeconds: histogram(
    'persist_seconds',
    'Time to bring a promise or a membership to disk, fsync included.',
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5],
  ),
  persistFailures: counter('persist_failures_total', 'Writes of the durable state that failed: until one holds, this node says nothing.'),
})

/** What DRBD has here. */
const storageMetrics = ({ gauge }: Maker) => ({
  storageResources: gauge('storage_resources', 'DRBD resources on this node.'),
  storageUnprotected: gauge(
    'storage_resources_without_freeze_mode',
    'DRBD resources on this node for which freeze mode does not hold: no storage proof.',
  ),
})

/** What is done for the workloads of fenced nodes. */
const failoverMetrics = ({ gauge, counter }: Maker) => ({
  failoverEvents: counter('failover_events_total', 'Steps of the failover, by kind.', ['kind']),
  blockedWorkloads: gauge('blocked_workloads', 'Workloads that the present failover holds back, with their reasons in the Fence object.'),
  unplaced: gauge(
    'unplaced_workloads',
    'Pods made since a present fence that no node takes, with the scheduler’s reasons in the Fence object.',
  ),
  unfenceBackoff: gauge(
    'unfence_backoff_seconds',
    'How long the un-fence of a node that was fenced again soon after its last one still has to wait.',
    ['node'],
  ),
  attachmentsLate: gauge(
    'volume_attachments_late',
    'VolumeAttachments of fenced nodes that are past their deadline, by whether only one node may have the volume (blocks) or many.',
    ['blocks'],
  ),
})

/** Whether the nodes that are left could carry what a lost room ran. */
const capacityMetrics = ({ gauge, counter }: Maker) => ({
  capacityMovingCpu: gauge('capacity_moving_cpu_cores', 'Processors requested by the pods that would move if the room were lost.', [
    'room',
  ]),
  capacityMovingMemory: gauge('capacity_moving_memory_bytes', 'Memory requested by the pods that would move if the room were lost.', [
    'room',
  ]),
  capacityMovingPods: gauge('capacity_moving_pods', 'Pods that would move if the room were lost.', ['room']),
  capacityFreeCpu: gauge('capacity_free_cpu_cores', 'Processors that the nodes left would have free if the room were lost.', ['room']),
  capacityFreeMemory: gauge('capacity_free_memory_bytes', 'Memory that the nodes left would have free if the room were lost.', ['room']),
  capacityUnplaced: gauge('capacity_unplaced_pods', 'Pods that would find no node by their requests if the room were lost.', ['room']),
  capacityCounts: counter('capacity_counts_total', 'Counts of the above by this agent, by outcome: ok or failed.', ['outcome']),
})

/** How long it took, and what it asked of the API server. */
const recoveryMetrics = ({ counter, histogram }: Maker) => ({
  recoverySeconds: histogram(
    'vm_recovery_seconds',
    'From the fence being learned by the coordinator to the VM running on a survivor.',
    RECOVERY_BUCKETS,
  ),
  kubernetesCalls: counter('kubernetes_calls_total', 'Calls to the API server, by method and outcome.', ['method', 'outcome']),
})
