/** The witness of the virtual world: one linearizable register, which may be down, slow, or restored from an old backup. */
import type { NodeId } from '../../protocol/ids.ts'
import { digestOf, memberOf, type Membership } from '../../protocol/membership.ts'
import type { Register, WitnessAnswer, WitnessRequest } from '../../protocol/messages.ts'

export interface SimWitness {
  isUp: boolean
  isSlow: boolean
  register: Register
  readonly backups: Register[]
  /** Since when it has answered as it should, Infinity: it does not. */
  goodSinceMs: number
}

const BACKUPS = 8

export const createWitness = (first: Membership): SimWitness => ({
  isUp: true,
  isSlow: false,
  register: { incarnation: first.witness?.incarnation ?? 'none', version: 1, membership: first, accepted: null },
  backups: [],
  goodSinceMs: 0,
})

/** What the register does with a request, atomically. A read counts as an ack only under the same epoch and through an open door. */
export function answerRequest(witness: SimWitness, reader: NodeId, request: WitnessRequest): WitnessAnswer {
  const { register } = witness
  if (request.kind === 'read') {
    const isSame = register.membership.epoch === request.epoch && digestOf(register.membership) === request.digest
    const isOpen =
      memberOf(register.membership, reader)?.standing !== 'fenced' &&
      (!register.accepted || memberOf(register.accepted.membership, reader)?.standing !== 'fenced')
    return { kind: 'register', id: request.id, register, isCounted: isSame && isOpen }
  }
  if (request.expectedVersion !== register.version) return { kind: 'conflict', id: request.id, register }
  witness.backups.push(register)
  if (witness.backups.length > BACKUPS) witness.backups.shift()
  witness.register = { ...request.register, version: register.version + 1 }
  return { kind: 'swapped', id: request.id, version: register.version + 1 }
}

/**
 * Puts back the youngest backup that every node would recognise as one. A silent restore while a node that never saw the newer version is
 * away is outside of what the protocol covers (docs/simulation.md).
 *
 * @param lowestSeen the lowest version that any node's disk remembers of this incarnation; -1: one of them remembers none.
 * @param isEarlier to a backup of before the present incarnation.
 */
export function restoreBackup(witness: SimWitness, lowestSeen: number, isEarlier: boolean): Register | undefined {
  const backup = witness.backups.findLast(({ incarnation, version }) =>
    incarnation === witness.register.incarnation ? !isEarlier && version < lowestSeen : isEarlier && lowestSeen >= 0,
  )
  if (!backup) return undefined
  witness.register = backup
  return backup
}
