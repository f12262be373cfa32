/** Lines that tests outside this folder show. */
import type { LineElsewhere } from './lines.ts'

const plan = (test: string) => ({ file: 'src/failover/plan.test.ts', test })

export const linesElsewhere: readonly LineElsewhere[] = [
  {
    id: 'transaction-plan-is-pure',
    part: 'transaction/plan',
    says: 'the plan is a pure function of snapshot and fence: never a pod cleared without proof, before the taints, or before its VM is recorded (random clusters)',
    embedded: plan('never clears a pod that can write without its proof and an open gate, nor before all taints, and records VMs first'),
    real: plan('never clears a pod that can write without its proof and an open gate, nor before all taints, and records VMs first'),
  },
  {
    id: 'transaction-plan-is-stable',
    part: 'transaction/plan',
    says: 'planned again from its own record, it does not change that record',
    embedded: plan('planned again from what it wrote, does not change its record'),
    real: plan('planned again from what it wrote, does not change its record'),
  },
]
