/** Killing: the pods that can write shared storage are gone, and DRBD is Secondary (docs/protocol/containment.md, docs/protocol/freeze-mode.md, "On a loser"). Adapter. */
import { commandLine } from '../drbd/commands.ts'
import type { Drbd } from '../drbd/drbdsetup.ts'
import { planLoser } from '../drbd/loser.ts'
import type { Resource } from '../drbd/model.ts'
import type { Grip } from './grip.ts'
import { inTwoSteps } from './pause.ts'
import type { Unverified } from './verification.ts'
import type { Workload } from './workloads.ts'

/** Kills each, and tells what still lives. */
export const killAll = (grip: Grip, workloads: readonly Workload[]): Promise<readonly Unverified[]> =>
  inTwoSteps(workloads, grip.kill, grip.whyNotGone)

/**
 * One round of demoting what is Primary here, by the role that is read afterwards. It goes on while the killed ones are dying, for a process that waits
 * for a frozen write cannot die before that write has failed.
 */
export async function demoteAll(drbd: Drbd): Promise<readonly Unverified[]> {
  const before = await drbd.refresh()
  if (before.kind === 'absent') return []
  if (before.kind === 'unknown') return [{ podUid: 'drbd', reason: `DRBD's state is unknown: ${before.reason}` }]
  const isHeld = ({ role, forceIoFailures }: Resource) => role !== 'Secondary' || forceIoFailures
  const left = await Promise.all(
    before.resources.filter(isHeld).map(async (resource): Promise<Unverified[]> => {
      const step = planLoser({ resource, rejoining: new Set() })
      if (step.kind !== 'run') return step.kind === 'done' ? [] : [{ podUid: 'drbd', reason: step.reason }]
      const { message, snapshot } = await drbd.execute(step.command)
      const after = snapshot.kind === 'known' ? snapshot.resources.find(({ name }) => name === resource.name) : undefined
      // A resource that is gone from a state that is known is down, and nobody's.
      if (snapshot.kind === 'known' && (after === undefined || after.role === 'Secondary')) return []
      const role = after?.role ?? 'unknown'
      return [{ podUid: 'drbd', reason: `${resource.name} is ${role} after drbdsetup ${commandLine(step.command).join(' ')}: ${message}` }]
    }),
  )
  return left.flat()
}
