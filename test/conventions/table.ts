/** The conventions of imports: which folder may import which, and which files may touch the clock, chance and the network. Change it here, knowingly. */

const FAILOVER = ['src/failover/fence', 'src/failover/brakes', 'src/failover/plan', 'src/failover/run', 'src/failover/unfence'] as const

/**
 * Every folder of src and the folders that its modules may import; the longest name that fits a file counts. Deciders stand at the top,
 * shells at the bottom; nothing of the product imports `sim` or `demo`, and nobody imports `cli`.
 */
export const mayImport: Readonly<Record<string, readonly string[]>> = {
  'src/protocol': [],
  'src/config': [],
  'src/disk': [],
  'src/observe': [],
  'src/kubernetes': [],
  'src/drbd': [],
  'src/evidence': ['src/protocol'],
  'src/witness': ['src/protocol', 'src/evidence', 'src/disk', 'src/config'],
  'src/containment': ['src/drbd'],
  // What a fence is; what the brakes count; what may be done now, which is decided without asking anybody; its doing; and the way back.
  'src/failover/fence': ['src/protocol', 'src/kubernetes'],
  'src/failover/brakes': ['src/kubernetes', 'src/failover/fence'],
  'src/failover/plan': ['src/protocol', 'src/kubernetes', 'src/failover/fence', 'src/failover/brakes'],
  'src/failover/run': ['src/kubernetes', 'src/failover/fence', 'src/failover/brakes', 'src/failover/plan'],
  'src/failover/unfence': [
    'src/protocol',
    'src/kubernetes',
    'src/failover/fence',
    'src/failover/brakes',
    'src/failover/plan',
    'src/failover/run',
  ],
  // What is kept on disk and where an agent learns who it is; then what it does of its own, each by itself; then the fences, which use all three
  // of what people ask for, what the storage says and the un-fence. `agent.ts` joins them.
  'src/agent/state': ['src/protocol', 'src/disk', 'src/observe', 'src/kubernetes', 'src/drbd', 'src/evidence'],
  'src/agent/storage': ['src/protocol', 'src/disk', 'src/observe', 'src/drbd', 'src/evidence', 'src/agent/state'],
  'src/agent/guard': ['src/protocol', 'src/config', 'src/disk', 'src/observe', 'src/kubernetes', 'src/drbd', 'src/containment'],
  'src/agent/unfence': ['src/protocol', 'src/config', 'src/observe', 'src/kubernetes', 'src/evidence', ...FAILOVER],
  'src/agent/requests': ['src/protocol', 'src/config', 'src/observe', 'src/kubernetes', ...FAILOVER, 'src/agent/unfence'],
  'src/agent/fences': [
    'src/protocol',
    'src/config',
    'src/observe',
    'src/kubernetes',
    'src/evidence',
    ...FAILOVER,
    'src/agent/storage',
    'src/agent/requests',
    'src/agent/unfence',
  ],
  'src/agent': [
    'src/protocol',
    'src/config',
    'src/disk',
    'src/observe',
    'src/kubernetes',
    'src/drbd',
    'src/evidence',
    'src/witness',
    'src/containment',
    ...FAILOVER,
    'src/agent/state',
    'src/agent/storage',
    'src/agent/guard',
    'src/agent/requests',
    'src/agent/fences',
    'src/agent/unfence',
  ],
  // The simulator is a second shell around what decides: the protocol, the planners of DRBD and of the failover. It sees no adapter.
  // What is above it is what a schedule says, then the world as it is, what is true of it, what lives in it, what goes wrong, and a run of all that.
  'src/sim/schedule': ['src/protocol'],
  'src/sim/world': ['src/sim/schedule', 'src/protocol'],
  'src/sim/observer': ['src/sim/world', 'src/protocol'],
  'src/sim/node': ['src/sim/observer', 'src/sim/world', 'src/protocol', 'src/drbd'],
  'src/sim/faults': ['src/sim/node', 'src/sim/observer', 'src/sim/world', 'src/sim/schedule', 'src/protocol'],
  'src/sim/run': [
    'src/sim/faults',
    'src/sim/node',
    'src/sim/observer',
    'src/sim/world',
    'src/sim/schedule',
    'src/protocol',
    'src/scenario',
  ],
  'src/sim/sweep': ['src/sim/run', 'src/sim/schedule'],
  'src/sim': ['src/sim/sweep', 'src/sim/run', 'src/sim/schedule', 'src/scenario'],
  // The scenario files, which the simulator and the demo play alike.
  'src/scenario': [],
  // The embedded cluster stands in for what is not ours, so its parts know the product as little as the real ones do.
  // The demo's run is a shell like `cli`: it starts agents as processes and makes genesis as `roomfence init` does.
  'src/demo/run': [
    'src/demo/apiserver',
    'src/demo/certificates.ts',
    'src/demo/cluster',
    'src/demo/link',
    'src/demo/nodes',
    'src/demo/observer',
    'src/demo/storage',
    'src/demo/vm',
    'src/protocol',
    'src/config',
    'src/evidence',
    'src/failover/fence',
    'src/failover/run',
    'src/kubernetes',
    'src/witness',
    'src/agent',
    'src/scenario',
  ],
  'src/demo': [
    'src/demo/run',
    'src/demo/apiserver',
    'src/demo/certificates.ts',
    'src/demo/cluster',
    'src/demo/link',
    'src/demo/nodes',
    'src/demo/observer',
    'src/demo/storage',
    'src/demo/vm',
    'src/protocol',
    'src/config',
    'src/observe',
    'src/scenario',
  ],
  // What is below stands in for others' programs, so it knows the product as little as the real ones do.
  'src/demo/certificates.ts': [],
  'src/demo/apiserver': ['src/demo/certificates.ts'],
  'src/demo/cluster': ['src/demo/apiserver', 'src/demo/nodes'],
  'src/demo/link': [],
  'src/demo/vm': [],
  'src/demo/storage': ['src/demo/link', 'src/drbd'],
  'src/demo/observer': ['src/demo/vm', 'src/demo/storage'],
  'src/demo/nodes': ['src/demo/link', 'src/demo/storage', 'src/demo/observer', 'src/demo/vm', 'src/drbd'],
  'src/cli': [
    'src/protocol',
    'src/config',
    'src/disk',
    'src/observe',
    'src/kubernetes',
    'src/drbd',
    'src/evidence',
    'src/witness',
    'src/containment',
    'src/agent',
    'src/agent/requests',
    'src/sim',
    'src/demo',
    'src/demo/run',
  ],
}

/** What a test that stands beside its module may import besides: stand-ins, what helps tests, and the suites that several implementations must pass. */
export const testsMayImport: readonly string[] = [
  'src/demo',
  'src/containment',
  'src/protocol',
  'src/sim/run',
  'src/sim/schedule',
  'test/support',
  'test/contract',
]

/**
 * What a folder of tests may take from another one besides `test/support`, where everything lies that helps more than one of them: a suite that it
 * plays in another world, and the laboratory of the real control plane.
 */
export const suitesMayImport: Readonly<Record<string, readonly string[]>> = {
  'test/bench': ['test/cluster'],
  'test/cluster': ['test/contract', 'test/deploy', 'test/lines'],
  'test/lines': ['test/cluster'],
  'test/pod': ['test/cluster', 'test/deploy'],
}

/** Node's own modules, by folder: a folder that is not listed uses none. */
export const nodeModulesOf: Readonly<Record<string, readonly string[]>> = {
  'src/config': ['fs'],
  'src/disk': ['crypto', 'fs', 'fs/promises', 'net', 'path'],
  'src/observe': ['http', 'net'],
  'src/kubernetes': ['fs', 'http', 'https', 'path'],
  'src/drbd': ['child_process', 'fs/promises'],
  'src/evidence': ['crypto', 'dgram', 'fs', 'net', 'zlib'],
  'src/witness': ['crypto', 'fs', 'fs/promises', 'http', 'https', 'net'],
  'src/containment': ['child_process', 'fs', 'fs/promises', 'path', 'timers/promises'],
  'src/agent/state': ['crypto', 'path'],
  'src/agent/requests': ['fs', 'http', 'path'],
  'src/agent': ['crypto', 'fs'],
  // The simulator itself has none: its command, which people call, what spreads a sweep over cores and counts branches.
  'src/sim/command.ts': ['child_process', 'fs'],
  'src/sim/sweep/coverage.ts': ['inspector/promises'],
  'src/sim/sweep/pool.ts': ['worker_threads'],
  'src/sim/sweep/sweep-worker.ts': ['worker_threads'],
  'src/scenario': ['fs'],
  'src/demo': ['*'],
  'src/cli': ['*'],
}

/**
 * The adapters: files, or folders with a slash at the end, that may read a clock, set timers, roll dice or call the network. Whoever is not
 * here is given the time as an argument.
 */
export const adapters: readonly string[] = [
  'src/agent/agent.ts',
  'src/agent/clock.ts',
  'src/agent/fences/fences.ts',
  'src/agent/guard/guard.ts',
  'src/agent/guard/inert.ts',
  'src/agent/guard/petting.ts',
  'src/agent/requests/client.ts',
  'src/containment/containment.ts',
  'src/containment/process-group.ts',
  'src/containment/verification.ts',
  'src/drbd/drbdsetup.ts',
  'src/drbd/follower.ts',
  'src/drbd/program.ts',
  'src/evidence/api-probe.ts',
  'src/evidence/keys.ts',
  'src/kubernetes/client.ts',
  'src/kubernetes/watch.ts',
  'src/witness/http-client.ts',
  'src/witness/server.ts',
  // How long it took, and a first seed: never inside a schedule.
  'src/sim/sweep/benchmark.ts',
  'src/sim/command.ts',
  'src/sim/sweep/progress.ts',
  'src/cli/',
  'src/demo/',
]

/** A file that is longer is two files. */
export const mostLines = 400
