/** Lines that tests outside this folder show. */
import { brakeLines } from './single-node.ts'
import type { LineElsewhere } from './lines.ts'

const plan = (test: string) => ({ file: 'src/failover/plan/plan.test.ts', test })
/** A rule that is a pure function of what was read. */
const ruleOf = (file: string, test: string, cannot = 'a pure rule on what was read: no API server has a part in it') => ({
  embedded: { file, test },
  real: { cannot },
})

export const linesElsewhere: readonly LineElsewhere[] = [
  ...brakeLines,
  {
    id: 'transaction-plan-is-pure',
    part: 'transaction/plan',
    says: 'the plan is a pure function of snapshot and fence: never a pod cleared without proof, before the taints, or before its VM is recorded (random clusters)',
    embedded: plan('never clears a pod that can write without its proof and an open gate, nor before all taints, and records VMs first'),
    real: { cannot: 'random clusters, thousands of them: a pure rule' },
  },
  {
    id: 'transaction-plan-is-stable',
    part: 'transaction/plan',
    says: 'planned again from its own record, it does not change that record',
    embedded: plan('planned again from what it wrote, does not change its record'),
    real: { cannot: 'random clusters, thousands of them: a pure rule' },
  },
  {
    id: 'kubevirt-hot-plug-proof',
    part: 'kubevirt/hot-plug',
    says: 'a VM is cleared on the proof of all that is plugged into it, also of a volume that its instance just gave up',
    ...ruleOf(
      'src/failover/plan/plan.kubevirt.test.ts',
      'is cleared on the proof of all of them, also of one that its instance just gave up',
    ),
  },
  {
    id: 'kubevirt-hot-plug-held',
    part: 'kubevirt/hot-plug',
    says: 'a held VM keeps its attachment pods: they are made immune with it',
    ...ruleOf(
      'src/failover/plan/plan.kubevirt.test.ts',
      'is held with its attachment pods immune, too, while one of its volumes has no good replica',
    ),
  },
  {
    id: 'kubevirt-touched-rarely',
    part: 'kubevirt/virt-api-stale',
    says: 'an instance that virt-controller does not come back to is touched ever more rarely',
    ...ruleOf(
      'src/failover/plan/vm.test.ts',
      'is touched ever more rarely: a virt-controller that is merely busy has to serve each touch, too',
      'it would take minutes of a virt-controller that never comes back',
    ),
  },
  {
    id: 'kubevirt-rerun-lost-start',
    part: 'kubevirt/rerun-on-failure',
    says: 'a VM of strategy RerunOnFailure whose queued start was lost is started after a while',
    ...ruleOf(
      'src/failover/plan/vm.test.ts',
      'of RerunOnFailure whose queued start was lost gets one after a while',
      'virt-controller would have to die between taking a start off its queue and doing it',
    ),
  },
  {
    id: 'kubevirt-controller-away-for-long',
    part: 'kubevirt/controllers-lost',
    says: 'while virt-controller is away VMs are waited for without an end, and told of when late',
    ...ruleOf(
      'src/failover/plan/vm.test.ts',
      'is waited for past its deadline, and told of, while virt-controller is away',
      'it would take longer than the deadline of a VM; that it is waited for is played (`kubevirt-away-and-back`)',
    ),
  },
  {
    id: 'kubevirt-migration-over',
    part: 'kubevirt/migration-source',
    says: 'what a migration that ended left in the lost room is cleared, and its VM, which runs on a survivor, is left alone',
    ...ruleOf(
      'src/failover/plan/plan.kubevirt.test.ts',
      'is cleared without asking for replicas, and its VM, which runs on a survivor by now, is none of the fence',
    ),
  },
  {
    id: 'kubevirt-recorded-by-the-real-one',
    part: 'kubevirt/followed',
    says: 'what real controllers wrote in other failovers (migrations, hot-plug, back-off, virt-api away, controller lost) is followed to the same end',
    embedded: { file: 'test/failover/kubevirt-recordings.test.ts', test: 'is followed to its end' },
    real: { cannot: 'these are recordings of it' },
  },
  {
    id: 'resumed-by-another-agent',
    part: 'transaction/resumed',
    says: 'the process of the agent that carries out a fence is killed in the middle of it, and another agent finishes',
    embedded: { cannot: 'agents of the demo are not killed at a step; `resumed-at-every-write` does it to the carrier' },
    real: {
      file: 'test/cluster/failover.test.ts',
      test: 'is finished by another agent when the one that carries it out is killed in the middle',
    },
  },
  {
    id: 'control-plane-rolled-back-finished',
    part: 'control-plane/rolled-back',
    says: 'a fence that was finished is carried out again when the API server lost it, and not where a node was un-fenced',
    embedded: {
      file: 'src/agent/fences/fences.test.ts',
      test: 'carries it out again when the API server was set back to before it, and not when the node was un-fenced',
    },
    real: {
      file: 'test/cluster/failover.test.ts',
      test: 'brings everything of a room without power back in the other, and kills nothing twice',
    },
  },
]
