/** What the failover asks before it moves anything: whether a node, or what it ran, has stopped, and whether the data is here. Pure. */
import type { DataGate, ProofAnswer } from '../../failover/fence/proofs.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { nodeProof } from '../../protocol/proof.ts'
import type { State } from '../../protocol/state.ts'
import { dataGate, type StorageFacts, storageProof } from '../storage/storage-proof.ts'

export function proofOfNode(state: State, node: NodeId, nowMs: number): ProofAnswer {
  const proof = nodeProof(state, node, nowMs)
  if (!proof.isProved)
    return {
      isProved: false,
      reason: proof.reason,
      ...(proof.readyAtMs === null ? {} : { readyInMs: Math.max(0, proof.readyAtMs - nowMs) }),
    }
  if (proof.kind === 'human') return { isProved: true, proof: { kind: 'human', by: proof.text } }
  return { isProved: true, proof: proof.kind === 'killed' ? { kind: 'killed' } : { kind: 'timed', sinceMs: proof.sinceMs } }
}

/** The proof of the node, else of exactly these resources. */
export function proofOfWorkload(ofNode: ProofAnswer, facts: StorageFacts | null, resources: readonly string[]): ProofAnswer {
  if (ofNode.isProved) return ofNode
  const storage = facts ? storageProof(facts, resources) : { isProved: false as const, reason: 'no membership' }
  if (storage.isProved) return { isProved: true, proof: { kind: 'storage' } }
  return { ...ofNode, reason: `${ofNode.reason}; no storage proof: ${storage.reason}` }
}

/** Volumes of other drivers than DRBD's are open. */
export function gateOf(facts: StorageFacts | null, volumes: Parameters<DataGate>[0], drbdDrivers: readonly string[]): ReturnType<DataGate> {
  const resources = volumes.filter(({ driver }) => drbdDrivers.includes(driver)).map(({ handle }) => handle)
  if (resources.length === 0 || !facts) return { open: true }
  const answer = dataGate(facts, resources)
  return answer.isProved ? { open: true } : { open: false, reason: answer.reason }
}
