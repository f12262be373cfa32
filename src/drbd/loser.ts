/** The fenced side of one DRBD resource: demote, verify, and never unlock (docs/protocol/freeze-mode.md). Pure. */
import type { DrbdCommand, NextStep } from './commands.ts'
import type { Resource } from './model.ts'

/** All that a fenced node may ever run: nothing here can thaw. */
export type LoserCommand = Extract<DrbdCommand, { kind: 'secondary-force' | 'connect' }>

export interface LoserView {
  /** As read a moment ago, and again after each command. */
  readonly resource: Resource
  /** Survivors that this node has been told to follow again (its un-fence was asked for, and its own workloads are killed). */
  readonly rejoining: ReadonlySet<string>
}

/** The next step on a node that is fenced, or that boots into a fence. `done` means: read as Secondary, and nobody holds the device open. */
export function planLoser({ resource, rejoining }: LoserView): NextStep<LoserCommand> {
  const { name, role } = resource
  if (role === 'Primary') {
    return { kind: 'run', command: { kind: 'secondary-force', resource: name }, why: 'Primary on a fenced node' }
  }
  if (role !== 'Secondary') return { kind: 'wait', reason: `the role of ${name} is ${role}` }
  if (resource.forceIoFailures) return { kind: 'wait', reason: `${name} is Secondary, but somebody still holds it open: kill the openers` }
  const waiting = resource.connections.find(({ peer, connectionState }) => rejoining.has(peer) && connectionState === 'StandAlone')
  if (waiting !== undefined) {
    const command: LoserCommand = { kind: 'connect', resource: name, peer: waiting.peer, peerNodeId: waiting.peerNodeId }
    return { kind: 'run', command, why: `Secondary here, and ${waiting.peer} is to be followed` }
  }
  return { kind: 'done', outcome: 'Secondary' }
}
