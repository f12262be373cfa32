/** Whether one pod of a fenced node may be cleared now: its proof, then the data gate (docs/protocol/proofs.md and P4). Pure. */
import type { PodView } from '../../kubernetes/resources.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { compareText, fullName } from '../fence/names.ts'
import type { DataGate, Proof, ProofAnswer, Proofs } from '../fence/proofs.ts'
import type { ClassifiedPod } from './classify.ts'

export interface PodVerdict {
  readonly pod: PodView
  readonly classified: ClassifiedPod
  readonly kind: 'ready' | 'waiting' | 'blocked' | 'skipped' | 'stuck'
  readonly reason: string
  /** Its proof holds (or none is needed), whatever else keeps it. */
  readonly isProved: boolean
  readonly proof: Proof['kind'] | 'none'
  readonly readyInMs?: number
}

/** The most important first; names make one order of it for every agent. */
export const byPriority = (a: PodVerdict, b: PodVerdict): number =>
  b.classified.priority - a.classified.priority || compareText(fullName(a.pod), fullName(b.pod))

export function decidePod(classified: ClassifiedPod, { proofs, dataGate, order }: Deciding): PodVerdict {
  const { pod, vmi } = classified
  const answer = proofOf(classified, proofs)
  const base = {
    pod,
    classified,
    isProved: answer === 'none-needed' || answer.isProved,
    proof: answer !== 'none-needed' && answer.isProved ? answer.proof.kind : ('none' as const),
  }
  if (classified.skipped !== undefined) return { ...base, kind: 'skipped', reason: classified.skipped }
  if (answer !== 'none-needed' && !answer.isProved) {
    return {
      ...base,
      kind: 'waiting',
      reason: waitingReason(classified, answer.reason),
      ...(answer.readyInMs === undefined ? {} : { readyInMs: answer.readyInMs }),
    }
  }
  if (pod.isTerminating && pod.deletionGracePeriodSeconds === 0 && pod.finalizers.length > 0) {
    return { ...base, kind: 'stuck', reason: `it is deleted, and kept by finalizers of others: ${pod.finalizers.join(', ')}` }
  }
  // A target of a VM that lives on a survivor starts nothing when it goes: there is nothing to be stale.
  const startsNothing =
    classified.podClass === 'migration-target' && vmi !== undefined && !order.nodes.some((node) => node === vmi.nodeName)
  const reason = startsNothing ? undefined : blockReason(classified, dataGate)
  if (reason !== undefined) return { ...base, kind: 'blocked', reason }
  return {
    ...base,
    kind: 'ready',
    reason: base.proof === 'none' ? 'no proof needed: it has no shared storage and may run twice' : `proof: ${base.proof}`,
  }
}

interface Deciding {
  readonly proofs: Proofs
  readonly dataGate: DataGate
  readonly order: { readonly nodes: readonly NodeId[] }
}

function proofOf({ pod, proofNeeded }: ClassifiedPod, proofs: Proofs): ProofAnswer | 'none-needed' {
  switch (proofNeeded.kind) {
    case 'none':
      return 'none-needed'
    case 'node':
      return proofs.node(pod.nodeName as NodeId)
    case 'storage':
      return proofs.workload(pod.nodeName as NodeId, proofNeeded.resources)
    default:
      return proofNeeded satisfies never
  }
}

/** Why what replaces the pod might start from old data; undefined when it cannot. */
function blockReason({ pod, volumes, unknownClaims }: ClassifiedPod, dataGate: DataGate): string | undefined {
  if (unknownClaims.length > 0 && !isRemains(pod))
    return `no volume is bound to claim ${unknownClaims.join(', ')}, so nobody can tell where its newest data is`
  const gate = volumes.length > 0 ? dataGate(volumes) : ({ open: true } as const)
  return gate.open ? undefined : gate.reason
}

/** It has ended, and its end has been answered: its claim may have been deleted since, and nothing is started in its place when it goes. */
const isRemains = ({ phase, owner }: PodView): boolean =>
  (phase === 'Succeeded' || phase === 'Failed') && owner?.kind !== 'StatefulSet' && owner?.kind !== 'VirtualMachineInstance'

const waitingReason = ({ proofNeeded }: ClassifiedPod, reason: string): string =>
  proofNeeded.kind === 'node' ? `it needs its node's proof (${proofNeeded.why}): ${reason}` : reason
