/** What can be set about the failover. */
import type { UnfenceBackoff } from '../brakes/flapping.ts'

/** Labels that a pod must all have; an empty value means any value. */
export interface PodSelector {
  readonly namespace?: string
  readonly labels: { readonly [label: string]: string }
}

export interface FailoverConfig extends UnfenceBackoff {
  /** Cleared first, in this order: without them nothing else comes back. A VM's pods are none of them, whatever their labels. */
  readonly controlPods: readonly PodSelector[]
  /** CSI drivers whose volumes are DRBD resources, so that the `storage` proof can hold for them. */
  readonly drbdDrivers: readonly string[]
  /** VMs cleared at once. */
  readonly waveSize: number
  /** The next wave waits until the VMs of the one before run again, or for `waveReadyMs`. */
  readonly waveReadinessGate: boolean
  readonly waveReadyMs: number
  /** A VM with runStrategy Once whose instance failed: leave it, or delete the failed instance so that it starts again. */
  readonly onceVms: 'leave' | 'restart'
  /** A VM that was starting when its node died waits 10 s to 5 min before it starts again; `true` removes that wait once. */
  readonly skipStartBackoff: boolean
  /** An instance still Running without a pod is touched after this long, so that virt-controller looks at it again. */
  readonly touchAfterMs: number
  /** A RerunOnFailure VM without instance and without a queued start gets one after this long. */
  readonly startSafetyNetMs: number
  /** A VM that does not run after this long is told of as failed. */
  readonly vmDeadlineMs: number
  readonly volumeAttachmentDeadlineMs: number
  readonly maxConcurrency: number
  readonly apiCallMs: number
  /** Longest pause between two looks at the cluster while something waits. */
  readonly lookEveryMs: number
  readonly events: boolean
}
