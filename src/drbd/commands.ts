/** The few drbdsetup commands that roomfence ever runs. `primary --force` and the plain `disconnect` are not among them, on purpose. Pure. */

interface ToPeer {
  readonly resource: string
  readonly peer: string
  readonly peerNodeId: number
}

/**
 * - `disconnect-force`: StandAlone without telling the peer. (The plain one outdates *us* on a healthy network and lets the other side write on.)
 * - `unlock` / `relock`: fencing `dont-care` / `resource-and-stonith` on one connection.
 * - `resume-io`: thaws the resource of this minor; on real DRBD it also bumps the UUID of a device that is not suspended, which is how data was lost.
 * - `secondary-force`: demotes, failing the hanging writes of whoever still has the device open.
 */
export type DrbdCommand =
  | ({ readonly kind: 'disconnect-force' } & ToPeer)
  | ({ readonly kind: 'unlock' } & ToPeer)
  | ({ readonly kind: 'relock' } & ToPeer)
  | ({ readonly kind: 'connect' } & ToPeer)
  | { readonly kind: 'resume-io'; readonly resource: string; readonly minor: number }
  | { readonly kind: 'secondary-force'; readonly resource: string }

/** What comes after the program's name. */
export function commandLine(command: DrbdCommand): readonly string[] {
  switch (command.kind) {
    case 'disconnect-force':
      return ['disconnect', command.resource, String(command.peerNodeId), '--force']
    case 'unlock':
      return ['net-options', command.resource, String(command.peerNodeId), '--fencing=dont-care']
    case 'relock':
      return ['net-options', command.resource, String(command.peerNodeId), '--fencing=resource-and-stonith']
    case 'connect':
      return ['connect', command.resource, String(command.peerNodeId)]
    case 'resume-io':
      return ['resume-io', String(command.minor)]
    case 'secondary-force':
    default:
      return ['secondary', '--force', command.resource]
  }
}

/** The answer of a planner: one thing at a time, for the state is read again after each command. */
export type NextStep<Command extends DrbdCommand = DrbdCommand> =
  | { readonly kind: 'run'; readonly command: Command; readonly why: string }
  /** Nothing to do now; plan again when something changes, or at `untilMs`. */
  | { readonly kind: 'wait'; readonly reason: string; readonly untilMs?: number }
  /** Will not become right by itself. */
  | { readonly kind: 'blocked'; readonly reason: string; readonly nextStep: string }
  | { readonly kind: 'done'; readonly outcome: string }
