/** Mutations of what is done by the verdict, not of how it is reached: kills, proofs, replicas, and fences that are not forgotten. */
import { edit } from '../support/mutation.ts'
import type { Mutation } from './mutant.ts'

export const mutationsOfDeeds: readonly Mutation[] = [
  {
    name: 'a pause that is verified is followed by a kill',
    edits: [
      edit(
        'protocol/running.ts',
        "  if (level === 'kill' && isVerified) noteKilled(state, out)\n",
        "  if (level === 'kill' && isVerified) noteKilled(state, out)\n  if (level === 'pause' && isVerified) contain(out, 'kill')\n",
      ),
    ],
    caughtBy: 'killed unfenced',
    firstSeed: 2,
  },
  {
    name: 'freeze mode is thawed before the commit',
    edits: [
      edit(
        'sim/node/takeover.ts',
        '  const membership = state?.durable.membership\n  if (!state || !membership || !isReliable',
        '  const membership = state?.epoch.attempt?.value ?? state?.durable.membership\n  if (!state || !membership || !isReliable',
      ),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 11,
  },
  {
    name: 'a node is declared out of service before the proof',
    edits: [edit('sim/node/failover.ts', 'if (isProved && !world.api', 'if (!world.api')],
    caughtBy: 'P1 single writer',
    firstSeed: 2,
  },
  {
    name: 'what a fenced node remembers of its replicas is not distrusted',
    edits: [
      edit(
        'drbd/memory.ts',
        '[peer, { wasUpToDate: false, readAtMs }]',
        '[peer, { wasUpToDate: memory.get(peer)?.wasUpToDate === true, readAtMs }]',
      ),
    ],
    caughtBy: 'P4 no stale start',
    firstSeed: 121,
  },
  {
    // The planner in freeze mode, the data gate of a delete, and the storage proof.
    name: 'nobody asks what is remembered of a replica from before the cut',
    edits: [
      edit('drbd/survivor.ts', 'if (known?.wasUpToDate === true ||', 'if (known !== undefined ||'),
      edit('sim/node/failover.ts', ' || !side.wasUpToDate) return false', ') return false'),
      edit('sim/node/takeover.ts', "    side.state === 'UpToDate' &&\n    side.wasUpToDate\n", "    side.state === 'UpToDate'\n"),
    ],
    caughtBy: 'P4 no stale start',
    firstSeed: 121,
  },
  {
    name: 'a survivor does not cut its replicas off from those who are fenced',
    edits: [
      edit(
        'drbd/survivor.ts',
        "  for (const connection of lost) {\n    if (connection.connectionState === 'Disconnecting')",
        "  for (const connection of lost.slice(0, 0)) {\n    if (connection.connectionState === 'Disconnecting')",
      ),
    ],
    caughtBy: 'P4 no stale start',
    firstSeed: 11,
  },
  {
    name: 'a fenced node that comes back on an empty disk is let in',
    edits: [edit('protocol/proposal.ts', "standing: before?.standing === 'fenced' ? 'fenced' : 'observing',", "standing: 'observing',")],
    caughtBy: 'P5 nothing forgotten',
    firstSeed: 103,
  },
  {
    name: 'a fence that the API server forgot with a rollback is not written again',
    edits: [
      edit(
        'sim/node/failover.ts',
        'if ((world.api.taints.get(index) ?? -1) >= lastFence ||',
        "if (world.counts.has('api rollbacks') || (world.api.taints.get(index) ?? -1) >= lastFence ||",
      ),
    ],
    caughtBy: 'P5 nothing forgotten',
    firstSeed: 194,
  },
  {
    name: 'the watchdog is petted only on a permit that outlasts it',
    edits: [
      edit(
        'protocol/running.ts',
        "  if (state.process.desired === 'none') return hasPermit(state, nowMs)\n",
        "  if (state.process.desired === 'none') return hasPermit(state, nowMs + (state.process.watchdogMs ?? 0))\n",
      ),
    ],
    caughtBy: 'reboot with permit',
    firstSeed: 1,
  },
]
