/**
 * When a node may be put out of service, and what must be immune to Kubernetes' own eviction before (docs/failover.md, "Taints"). Pure.
 *
 * On a node out of service podgc removes whatever is terminating, and Kubernetes makes everything terminating that does not tolerate the node's death
 * for good, after five minutes by default. So what must not start elsewhere has to be immune before, not merely asked to be.
 */
import type { PodView } from '../../kubernetes/resources.ts'
import { fullName } from '../fence/names.ts'
import type { CommittedFence } from '../fence/committed-fence.ts'
import { immuneTolerations, isOutOfService } from '../fence/taints.ts'
import type { AgeMs, PlanInput } from './plan-input.ts'
import type { PodVerdict } from './pod-verdict.ts'
import type { Step } from './steps.ts'

const tolerateKey = (pod: PodView): string => `tolerate ${pod.uid}`

/** It stays for longer than Kubernetes leaves it alone. A short wait for the clock is far from its five minutes; one without an end is a hold. */
const isToBeImmune = ({ kind, readyInMs, classified }: PodVerdict): boolean =>
  classified.isToStay || kind === 'blocked' || (kind === 'waiting' && (readyInMs === undefined || readyInMs > 60_000))

export function immunitySteps(verdicts: readonly PodVerdict[]): readonly Step[] {
  return verdicts.flatMap((verdict): readonly Step[] => {
    const { pod } = verdict
    if (!isToBeImmune(verdict) || pod.isTerminating) return []
    const tolerations = immuneTolerations(pod.tolerations)
    if (tolerations === undefined) return []
    return [{ kind: 'tolerate', key: tolerateKey(pod), pod, tolerations, why: `kept from Kubernetes' own eviction: ${verdict.reason}` }]
  })
}

export interface OutOfService {
  readonly eligible: readonly string[]
  /** What keeps each other node in service. */
  readonly waitingFor: ReadonlyMap<string, string>
  /** So long at most what stays on a node is still given to become immune, since all else is ready there; undefined when nothing is waited for. */
  readonly dueInMs: number | undefined
}

/** As long as a patch and the word of it may take on a busy API server: a right that is missing must not keep what needs none of this for ever. */
const longestImmunityMs = 2_000

/**
 * Every pod and attachment with storage on the node must have its proof; nothing that is to stay may be terminating already; and all of that must be seen
 * to be immune.
 */
export function outOfServiceNodes(
  { order, snapshot, proofs, config, refused }: PlanInput,
  verdicts: readonly PodVerdict[],
  /** Nodes that nothing is done to, and why. */
  overtaken: ReadonlyMap<string, string>,
  ageMs: AgeMs,
): OutOfService {
  const waitingFor = new Map(overtaken)
  const blocks = (node: string, reason: string): void => {
    if (!waitingFor.has(node)) waitingFor.set(node, reason)
  }
  const vulnerable = new Map<string, string>()
  for (const verdict of verdicts) {
    const { pod, classified } = verdict
    if (classified.proofNeeded.kind === 'none' || verdict.kind === 'ready' || verdict.kind === 'stuck') continue
    const what = classified.skipped === undefined ? verdict.kind : 'to be left alone'
    if (classified.skipped === undefined && !verdict.isProved) blocks(pod.nodeName, `${fullName(pod)}: ${verdict.reason}`)
    else if (pod.isTerminating) blocks(pod.nodeName, `${fullName(pod)} is ${what} and terminating already: ${verdict.reason}`)
    // A dry run makes nothing immune, and shows what would be done if it did.
    else if (isVulnerable(verdict) && !order.dryRun) {
      const refusal = refused?.get(tolerateKey(pod))
      const cause = refusal === undefined ? '' : ` (its tolerations cannot be changed: ${refusal})`
      const reason = `${fullName(pod)} is ${what} and not immune to Kubernetes' own eviction yet${cause}: ${verdict.reason}`
      if (isToBeImmune(verdict)) vulnerable.set(pod.nodeName, reason)
      else blocks(pod.nodeName, reason)
    }
  }
  for (const attachment of snapshot.volumeAttachments) {
    const volume = snapshot.volumes.get(attachment.persistentVolume)
    const node = attachment.nodeName as CommittedFence['nodes'][number]
    const isDrbd = volume !== undefined && volume.handle !== '' && config.drbdDrivers.includes(volume.driver)
    const answer = isDrbd ? proofs.workload(node, [volume.handle]) : proofs.node(node)
    if (!answer.isProved) blocks(node, `volume ${attachment.persistentVolume} is attached: ${answer.reason}`)
  }
  let dueInMs: number | undefined
  for (const [node, reason] of vulnerable) {
    const leftMs = longestImmunityMs - ageMs(`immunity ${node}`)
    const isDue = leftMs > 0 && !waitingFor.has(node) && !isOutOfService(snapshot.nodes.get(node)?.taints ?? [])
    if (isDue) dueInMs = Math.min(dueInMs ?? Infinity, leftMs)
    blocks(node, reason)
  }
  return { eligible: order.nodes.filter((node) => snapshot.nodes.has(node) && !waitingFor.has(node)), waitingFor, dueInMs }
}

/** Kubernetes would evict it, if not now then in five minutes. DaemonSet and static pods are not its to evict. */
const isVulnerable = ({ pod, classified }: PodVerdict): boolean =>
  (classified.skipped === undefined || classified.isToStay) && immuneTolerations(pod.tolerations) !== undefined
