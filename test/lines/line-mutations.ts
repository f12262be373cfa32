/**
 * For every line that the embedded world plays, the rule that it is about taken out of the code, as a plausible bug would: the line has to go red.
 * `line-mutations.main.ts` plays them; line-mutations.test.ts keeps the list in step with code and lines.
 */

import type { Edit } from '../support/mutation.ts'

/** From the repository's root. */
export interface LineMutation extends Edit {
  readonly line: string
  /** What the stage's play waits for in vain, where it does not get as far as the line's check. */
  readonly awaited?: string | undefined
}

type Edits = Readonly<Record<string, readonly [find: string, replace: string, awaited?: string]>>

const inFile = (file: string, edits: Edits): readonly LineMutation[] =>
  Object.entries(edits).map(([line, [find, replace, awaited]]) => ({ line, file, find, replace, awaited }))

/** Starts what did not run: nothing in the code comes near to it, so it takes a whole step more. */
const startingAll = (runStrategy: string): readonly [string, string] => [
  '  return { workloads: next, steps, unplaced }\n',
  `  for (const vm of snapshot.vms.values())
    if (vm.runStrategy === '${runStrategy}' && ageMs(vm.uid) < 500)
      steps.push({ kind: 'vm', key: vm.uid, workload: vm as never, action: { kind: 'start' }, why: '' })
  return { workloads: next, steps, unplaced }\n`,
]

/** A line whose rule has two guards in the code stands here twice, and loses both at once. */
export const mutations: readonly LineMutation[] = [
  ...inFile('src/failover/plan/verdicts.ts', {
    'transaction-overtaken-by-unfence': [
      'return isUnfencedSince(annotations, order.epoch) ?',
      'return isUnfencedSince(annotations, Infinity) ?',
      'it waits for the node that it leaves alone',
    ],
  }),
  ...inFile('src/failover/plan/stages.ts', {
    'order-fenced-on-all-nodes-first': ['return untainted.map(', 'return untainted.slice(0, 1).map('],
    'order-out-of-service-before-any-delete-there': [
      '{ eligible }: Findings): readonly Step[] =>\n  eligible\n',
      "{ eligible, verdicts }: Findings): readonly Step[] =>\n  eligible\n    .filter(() => verdicts.every(({ kind }) => kind !== 'ready'))\n",
    ],
    'order-stateful-after-vms-then-the-rest': ["clearSteps(cleared, ['control'])", "clearSteps(cleared, ['control', 'stateful'])"],
    'jobs-fail-before-they-go': ['return hasEnded ? [clear] : [fail, { ...clear, needs: key }]', 'return [clear]'],
    'transaction-idempotent': ['!lease.released && proofs', 'proofs'],
    'kubevirt-leases-need-the-proof': ["&& proofs.node(lease.node as CommittedFence['nodes'][number]).isProved", ''],
    'resumed-at-every-write': ['return hasEnded ? [clear]', 'return hasEnded ? []'],
    'held-immune-first': [
      'steps: immunitySteps(verdicts.filter(',
      "steps: verdicts.some(({ kind }) => kind === 'ready') ? [] : immunitySteps(verdicts.filter(",
      'the Fence says that it is not immune',
    ],
    'control-plane-silent-calls': ['barrier: true', 'barrier: false'],
    'control-plane-forbidden-stops-in-order': ['barrier: true', 'barrier: false'],
    'kubevirt-hot-plug-comes-along': ["clearSteps(cleared, ['control'])", "clearSteps(cleared, ['control', 'hotplug'])"],
    'single-node-room-mates-untouched': [
      'const untainted = order.nodes.flatMap((name) => {',
      'const untainted = [...snapshot.nodes.keys()].flatMap((name) => {',
    ],
  }),
  ...inFile('src/failover/plan/waves.ts', {
    'order-wave-size-and-readiness-gate': ['return isStarting ? [] : waves.slice(0, 1)', 'return waves.slice(0, 1)'],
    'order-waves-in-the-cluster': ['if (!config.waveReadinessGate) return waves', 'return waves'],
  }),
  ...inFile('src/failover/plan/follow-vms.ts', {
    'kubevirt-manual-idle-stays': startingAll('Manual'),
    'kubevirt-halted-stays': startingAll('Halted'),
    'kubevirt-receiver-stays': startingAll('WaitAsReceiver'),
    'kubevirt-replica-set': ['replacements.get(workload.set)?.shift()', 'replacements.get(workload.set)?.at(0)'],
  }),
  ...inFile('src/failover/plan/out-of-service.ts', {
    'order-out-of-service-node-by-node': ['&& !waitingFor.has(node)), waitingFor', '&& waitingFor.size === 0), waitingFor'],
    'held-without-immunity-keeps-its-node-in-service': [
      'else if (isVulnerable(verdict) && !order.dryRun) {',
      'else if (order.id === verdict.reason) {',
      'the Fence says that it is not immune',
    ],
    'held-terminating-keeps-its-node-in-service': [
      'else if (pod.isTerminating) blocks',
      "else if (pod.isTerminating && verdict.kind !== 'blocked') blocks",
      'the terminating one alone keeps its node',
    ],
    'single-node-same-path': [
      'eligible: order.nodes.filter((node) => snapshot',
      'eligible: order.nodes.filter((node) => order.rooms.length > 0 && snapshot',
    ],
  }),
  ...inFile('src/failover/plan/plan-status.ts', {
    'transaction-fence-shows-all': ["proof: answer.isProved ? answer.proof.kind : (known?.proof ?? '')", "proof: ''"],
    'resumed-knows-what-was': ["startedAt: recorded.startedAt === '' ? isoTime : recorded.startedAt", 'startedAt: isoTime'],
    'attachments-watched-until-gone': [
      '...attachments.filter(({ isLate }) => isLate)',
      '...attachments.filter(() => false)',
      'the fence waits for the kept attachment alone',
    ],
  }),
  ...inFile('src/failover/plan/classify.ts', {
    'order-control-pods-first': ["if (config.controlPods.some((selector) => matches(pod, selector))) return 'control'", ''],
    'kubevirt-control-pods-first': ["if (config.controlPods.some((selector) => matches(pod, selector))) return 'control'", ''],
    'kubevirt-control-label': [
      "if (pod.owner?.kind === 'VirtualMachineInstance')\n",
      "if (pod.owner?.kind === 'VirtualMachineInstance' && pod.labels['roomfence.io/control'] === undefined)\n",
    ],
    'order-vms-by-annotation-and-class': ['return pod.priority\n', 'return 0\n'],
    'skip-mirror-pods': ["if (pod.annotations['kubernetes.io/config.mirror'] !== undefined)", 'if (pod.uid === undefined)'],
    'skip-daemonset-pods': ["if (pod.owner?.kind === 'DaemonSet') return", "if (pod.owner?.kind === 'none') return"],
    'skip-pods-that-tolerate-everything': ['if (toleratesEverything(tolerations)) return', 'if (tolerations.length === -1) return'],
    'skip-pods-that-tolerate-our-taints': [
      'isToStay: optedOut || (needed',
      "isToStay: optedOut || (pod.name === '' && needed",
      'everything but the kept pod has settled',
    ],
    'skip-opted-out-pods': ['[pod, vmi, vm].some(', '[vmi, vm].some('],
    'skip-opted-out-vms': ['[pod, vmi, vm].some(', '[pod].some('],
    'order-nothing-with-storage-goes-unproved': ["if (pod.owner?.kind === 'StatefulSet') return", "if (pod.owner?.kind === 'none') return"],
    'order-without-storage-no-wait': [
      "return { kind: 'none' }",
      "return { kind: 'node', why: 'to be sure' }",
      '1 pods of late-web run in room-a',
    ],
    'kubevirt-migration-target-lost': [
      "return vmi !== undefined && vmi.nodeName !== '' && vmi.nodeName !== pod.nodeName ? 'migration-target' : 'launcher'",
      "return 'launcher'",
    ],
  }),
  ...inFile('src/failover/fence/taints.ts', {
    'order-out-of-service-is-no-schedule': [
      "value: outOfServiceTaintValue, effect: 'NoSchedule'",
      "value: outOfServiceTaintValue, effect: 'NoExecute'",
    ],
    'order-foreign-taints-kept': [
      '...taints.filter((taint) => taint !== same), added',
      '...taints.filter((taint) => taint !== same && isOurs(taint)), added',
    ],
    'held-outlasts-eviction': ['    return unlimited\n', '    return toleration\n', 'the Fence says that it is not immune'],
  }),
  ...inFile('src/failover/run/execute-step.ts', {
    'order-taints-carry-the-version': ['{ metadata: { resourceVersion: node.resourceVersion }, spec: { taints } }', '{ spec: { taints } }'],
    'order-deletes-name-the-uid': ['{ uid: step.pod.uid, gracePeriodSeconds: 0, ...call }', '{ uid: step.pod.uid, ...call }'],
    'transaction-superseded': ['fencedBy !== undefined && fencedBy > epoch', 'fencedBy === -1'],
    'kubevirt-virt-api-hangs': [
      "    case 'delete-pod':\n",
      "    case 'delete-pod':\n      if (step.vm !== undefined) await client.patchMerge(`/apis/kubevirt.io/v1/namespaces/${step.vm.replace('/', '/virtualmachineinstances/')}`, {}, call)\n",
    ],
  }),
  ...inFile('src/failover/run/execute-vm-step.ts', {
    'kubevirt-nothing-is-stopped': [
      "    case 'start':\n      try {\n",
      "    case 'start':\n      try {\n        await client.putSubresource(paths.startVirtualMachine(namespace, name).replace(/start$/, 'stop'), {}, call).catch(() => undefined)\n",
    ],
    'kubevirt-away-touched': [
      'client.patchMerge(path, body, { ...call, dryRun: true }).then(() => client.patchMerge(path, body, call))',
      'client.patchMerge(path, body, call)',
    ],
  }),
  ...inFile('src/failover/run/outcome.ts', {
    'order-gone-is-done': [
      "    if (isKubeError(error, 'not-found')) return 'gone'\n    if (isKubeError(error, 'conflict'))",
      "    if (isKubeError(error, 'conflict'))",
    ],
    'control-plane-dropped-in-the-middle': [
      "    if (isKubeError(error, 'not-found')) return 'gone'\n    if (isKubeError(error, 'conflict'))",
      "    if (isKubeError(error, 'not-found', 'unavailable')) return 'gone'\n    if (isKubeError(error, 'conflict'))",
    ],
    'transaction-two-executors': [
      "    if (isKubeError(error, 'not-found')) return 'gone'\n    if (isKubeError(error, 'conflict'))",
      "    if (isKubeError(error, 'conflict'))",
    ],
  }),
  ...inFile('src/failover/run/concurrency.ts', {
    'order-concurrency-bounded-and-halved': ['limit = Math.max(1, Math.floor(limit / 2))', 'limit = Math.max(1, limit)'],
    'control-plane-slow': ['else if (durationMs > slowMs) limit = Math.max(Math.min(least, limit), limit - 1)', ''],
  }),
  ...inFile('src/failover/run/execute.ts', {
    'order-retry-after-honoured': [
      'signal.aborted || round.isApiAway || round.retryAfterMs !== undefined',
      'signal.aborted || round.isApiAway',
    ],
    'brakes-dry-run': ["options.dryRun ? 'dry-run'", "options.dryRun && step.kind !== 'delete-pod' ? 'dry-run'"],
    'dry-run-touches-nothing': ["options.dryRun ? 'dry-run'", "options.dryRun && step.kind !== 'taint' ? 'dry-run'"],
    'control-plane-webhook-silent': ['round.isApiAway ||= !(await answers(options))', 'round.isApiAway = true', 'the others are gone'],
    'control-plane-rolled-back-workloads': ['const settleMs = 2_000', 'const settleMs = Infinity', 'the held one is immune again'],
  }),
  ...inFile('src/failover/run/execute.ts', {
    'control-plane-webhook-silent': ['if (again.length === 0) return stages', 'return stages'],
  }),
  ...inFile('src/kubernetes/client.ts', {
    'order-replacement-left-alone': ['preconditions: { uid },', ''],
    'control-plane-stale-reads': ['preconditions: { uid },', ''],
  }),
  ...inFile('src/kubernetes/resources.ts', {
    'claim-made-again': ["textAt(object, 'status', 'phase') === 'Bound' ? ", "textAt(object, 'status', 'phase') !== '' ? "],
    'kubevirt-migration-source-lost': [
      "    nodeName: textAt(object, 'status', 'nodeName'),\n    isTerminating: isTerminating(object),\n    claims:",
      `    nodeName:
      (textAt(object, 'status', 'migrationState', 'endTimestamp') === '' && textAt(object, 'status', 'migrationState', 'targetNode')) ||
      textAt(object, 'status', 'nodeName'),
    isTerminating: isTerminating(object),\n    claims:`,
    ],
  }),
  ...inFile('src/kubernetes/watch.ts', {
    'kubevirt-not-installed': ["if (ending === 'absent') items.listed(undefined)", '', 'the fence ends'],
  }),
  ...inFile('src/failover/plan/pod-verdict.ts', {
    'finalizers-of-others-stay': ["kept by finalizers of others: ${pod.finalizers.join(', ')}`", 'kept by finalizers of others`'],
    'held-released-when-fresh': [
      'if (reason !== undefined) return',
      'if (reason !== undefined || pod.isTerminating) return',
      'unlucky run in room-a',
    ],
  }),
  ...inFile('src/failover/plan/vm.ts', {
    'kubevirt-always': ["case 'Always':\n      return isComing()", "case 'Always':\n      return wait('started', { kind: 'start' })"],
    'kubevirt-once-restarted-by-policy': ["if (config.onceVms === 'restart')", "if (config.onceVms === 'leave')"],
    'kubevirt-rerun-on-failure': [
      'const isLost = vmi === undefined && !isStartQueued && !record.startAsked && clearedForMs >= config.startSafetyNetMs',
      'const isLost = !record.startAsked',
    ],
    'kubevirt-once-left': ["if (config.onceVms === 'restart')", "if (config.onceVms === 'leave')"],
    'kubevirt-followed-until-running': [
      "if (survivor !== undefined) return { state: 'running', reason: '', newNode: survivor }",
      "if (survivor !== undefined) return { state: 'running', reason: '', newNode: record.node }",
    ],
    'resumed-does-nothing-twice': [
      'return followNewInstance(vmi, vm, wait, settled)',
      "return wait('another one', { kind: 'delete-vmi', uid: vmi.uid })",
    ],
    'kubevirt-start-backoff-skipped': ['config.skipStartBackoff && backoff.count <= 1', 'backoff.count < 1'],
    'kubevirt-start-backoff-manual': ['if (isFinal(record.phaseBefore)) return', "if (record.phaseBefore !== 'Running') return"],
    'kubevirt-once-restarted': ["if (config.onceVms === 'restart')", "if (config.onceVms === 'restart' && record.startAsked)"],
    'kubevirt-stopped-meanwhile-stays': ["case 'Manual':\n      if (wasStopped) return stays()", "case 'Manual':"],
    'kubevirt-bare-instance-told': ["return settled('failed', 'an instance without", "return settled('stopped', 'an instance without"],
    'kubevirt-each-ends-with-a-reason': ['=> ({ state, reason, newNode', '=> ({ state, reason: reason.slice(0, 0), newNode'],
    'kubevirt-away-and-back': [
      "return wait('Manual, and it was running: started', { kind: 'start' })",
      "return settled('stopped', 'Manual')",
    ],
  }),
  ...inFile('src/failover/plan/record.ts', {
    'kubevirt-pool': ["kind: isVm ? (vmi.owner?.kind === 'VirtualMachine' ?", "kind: isVm ? (vmi.owner?.kind === 'none' ?"],
  }),
  ...inFile('src/failover/plan/leases.ts', {
    'kubevirt-leader-leases-released': ["const names = [lease.holder, lease.holder.split('_')[0] ?? '']", 'const names = [lease.holder]'],
    'kubevirt-virt-controller-lost': ['    nodeByName.set(`${namespace}/${name}`, nodeName)\n', '', 'the fence ends'],
  }),
  ...inFile('src/failover/run/failover.ts', {
    'control-plane-forbidden-immunity': ['if (!isTransient(error)) done.refused.set', 'if (isTransient(error)) done.refused.set'],
    'transaction-written-before-acting': ['if (isBehind && isPressing) {', 'if (isBehind && plan.stages.length === 0) {'],
    'kubevirt-manual-started-once': ["if (step.kind === 'vm' && step.action.kind === 'start') done.startAsked.add(step.workload.uid)", ''],
    'kubevirt-away-others-served': ["round.failed.find(({ step }) => step.kind !== 'vm')", 'round.failed[0]'],
    'flapping-is-told': ['flapping === undefined ? fence.status : { ...fence.status, flapping },', 'fence.status,'],
  }),
  ...inFile('src/failover/run/troubles.ts', {
    'control-plane-unreachable': ['Math.min(longestBackoffMs, on.backoffMs * 2)', 'Math.min(longestBackoffMs, on.backoffMs)'],
    'control-plane-rolled-back-fence': [
      "isKubeError(error, 'conflict', 'not-found') && error.path",
      "isKubeError(error, 'conflict') && error.path",
      'the fence is written again',
    ],
  }),
  ...inFile('src/failover/run/observation.ts', {
    'control-plane-forbidden-leases-and-events': ['if (toldOf.get(path) === reason) return', ''],
    'single-node-room-mates-untouched': [
      'only(nodeView, (node) => nodes.has(node.name))',
      'only(nodeView, ({ name }) => [...nodes].some((one) => one.slice(0, -1) === name.slice(0, -1)))',
    ],
  }),
  ...inFile('src/failover/run/rbac.ts', {
    'control-plane-forbidden-names-the-rule': [
      'return `the ServiceAccount lacks a rule: ${missingRule(error)}`',
      'return error.message',
      'fence: "roomfence.io"]',
    ],
  }),
  ...inFile('src/failover/brakes/capacity.ts', {
    'capacity-counted-before': [
      'less(allocatableOf(node), sum(pods.filter((pod) => pod.nodeName === node.name).map(amountOf)))',
      'allocatableOf(node)',
    ],
  }),
  ...inFile('src/agent/fences/capacity.ts', {
    'capacity-count-changes-nothing': [
      '      const rooms = roomsAtRisk(membership)\n',
      "      const rooms = roomsAtRisk(membership)\n      await options.client.patchMerge(paths.node(seen.nodes[0]?.name ?? ''), { metadata: { annotations: { 'roomfence.io/counted': 'yes' } } })\n",
    ],
  }),
  ...inFile('src/failover/plan/unplaced.ts', {
    'unplaced-in-the-scheduler-s-words': ['      reason: pod.unschedulable,', "      reason: 'no node takes it',"],
  }),
  ...inFile('src/failover/run/step-events.ts', {
    'unplaced-is-told': [
      "events.write({ subject, type: 'Warning', reason: 'FenceUnplaced', action: 'Place', note: `after fence ${order.id}: ${reason}` })",
      '',
    ],
    'attachment-past-its-deadline-is-told': [
      "onProgress({ kind: 'volume-attachment-stuck', volumeAttachment: name, node, reason: note, atMs })",
      '',
    ],
  }),
  ...inFile('src/failover/plan/attachments.ts', {
    'access-modes-told-apart': ["const blocks = !accessModes.includes('ReadWriteMany') && ", 'const blocks = '],
  }),
  ...inFile('src/failover/unfence/checks.ts', {
    'control-plane-stale-ready': ['else if (!facts.isFresh)', 'else if (facts.isFresh === undefined)'],
    'unfence-refused-while-off': ["return 'its agent does not report the state of its DRBD resources'", 'return undefined'],
    'unfence-needs-the-kill': ["!isForced || check.check === 'killed'", '!isForced'],
    'flapping-forced': ["!isForced || check.check === 'killed'", "!isForced || check.check === 'killed' || check.check === 'flapping'"],
  }),
  ...inFile('src/failover/unfence/annotations.ts', {
    'unfence-of-a-room': ['spec: { taints: withoutOurs(node.taints) }', 'spec: { taints: [] }'],
    'unfence-of-one-node': ['spec: { taints: withoutOurs(node.taints) }', 'spec: { taints: node.taints }'],
  }),
  ...inFile('src/failover/unfence/unfence.ts', {
    'no-failback': [
      '      const fence = await readFence(client, fenceId(input.fencedIn))\n      const manual',
      `      for (const { metadata } of (await client.list('/api/v1/pods', { project: (pod) => pod as any, signal })).items)
        if (metadata.ownerReferences?.[0]?.kind === 'ReplicaSet')
          await client.delete('/api/v1/namespaces/' + metadata.namespace + '/pods/' + metadata.name, { uid: metadata.uid, gracePeriodSeconds: 0 })
      const fence = await readFence(client, fenceId(input.fencedIn))\n      const manual`,
    ],
  }),
  ...inFile('src/failover/unfence/facts.ts', {
    'flapping-waits': [
      'return found && waitsForMs(found, input.clock.isoTime(), backoff) > 0 ? found : undefined',
      'return found && undefined',
    ],
  }),
  ...inFile('deploy/crds/fences.roomfence.io.yaml', {
    'transaction-fence-object': ['name: Held, type: integer', 'name: Kept, type: integer'],
  }),
]
