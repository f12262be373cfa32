/** The steps a plan is made of: plain data, each with the reason why it may be done. */
import type { PodView, Taint, Toleration } from '../../kubernetes/resources.ts'
import type { RecordedLease, RecordedWorkload } from '../fence/fence.ts'
import type { Proof } from '../fence/proofs.ts'
import type { VmAction } from './vm.ts'

interface StepBase {
  /** The same step of the next plan has the same key. */
  readonly key: string
  readonly why: string
  /** The key of a step that, where it is part of the same round, must have succeeded first. */
  readonly needs?: string
}

export type Step = StepBase &
  (
    | { readonly kind: 'taint'; readonly node: string; readonly taint: Taint }
    | { readonly kind: 'tolerate'; readonly pod: PodView; readonly tolerations: readonly Toleration[] }
    | { readonly kind: 'release-lease'; readonly lease: RecordedLease }
    | { readonly kind: 'fail-pod'; readonly pod: PodView }
    | { readonly kind: 'delete-pod'; readonly pod: PodView; readonly proof: Proof['kind'] | 'none'; readonly vm: string | undefined }
    | { readonly kind: 'vm'; readonly workload: RecordedWorkload; readonly action: VmAction }
  )

export interface Stage {
  readonly name: string
  readonly barrier: boolean
  readonly steps: readonly Step[]
}
