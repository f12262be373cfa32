/**
 * Mutations of the decision code, each a rule of the protocol taken out, that ordinary hostile schedules catch: no schedule was written for them.
 * A rule that has two guards in the code loses both.
 */
import { type Edit, edit } from '../support/mutation.ts'
import type { Mutation } from './mutant.ts'
import { mutationsOfDeeds } from './mutations-of-deeds.ts'

/** A node that was let back runs with its first acks. */
export const noWaitAfterUnfence: readonly Edit[] = [
  edit('protocol/running.ts', 'member.lastFence > 0 && member.lastFence > state.durable.freedEpoch', 'member.lastFence < 0'),
]

export const mutations: readonly Mutation[] = [
  ...mutationsOfDeeds,
  {
    name: 'promises and accepted values are forgotten on restart',
    edits: [edit('protocol/state.ts', 'durable: durable ??', 'durable: (durable && { ...durable, promised: null, accepted: null }) ??')],
    caughtBy: 'P2 single survivor',
    firstSeed: 110,
  },
  {
    name: 'values accepted under lower ballots are ignored',
    edits: [edit('protocol/proposer.ts', '    adopt(attempt, message.accepted.ballot, message.accepted.membership)\n', '')],
    caughtBy: 'P2 single survivor',
    firstSeed: 13,
  },
  {
    name: 'equal votes have no tie-break',
    edits: [edit('protocol/membership.ts', 'const TIE_BREAK = 60', 'const TIE_BREAK = 0')],
    caughtBy: 'P6 it ends',
    firstSeed: 10,
  },
  {
    name: 'there are no no-op epochs',
    edits: [edit('protocol/proposal.ts', "    if (isTurn(state, membership, 'finish', nowMs))", '    if (nowMs < 0)')],
    caughtBy: 'P6 it ends',
    firstSeed: 49,
  },
  {
    name: 'a room votes as soon as it is un-fenced',
    edits: [
      edit(
        'protocol/proposal.ts',
        "withStanding(now, nodes, 'observing'), cause: { kind: 'unfence'",
        "withStanding(now, nodes, 'voting'), cause: { kind: 'unfence'",
      ),
      edit('protocol/veto.ts', "      if (member.standing !== 'observing') return `${member.node} must first run without a vote`\n", ''),
    ],
    caughtBy: 'P6 it ends',
    firstSeed: 1,
  },
  {
    name: 'the watchdog is not waited for at all',
    edits: [edit('protocol/timings.ts', 'Math.max(killMs, watchdogMs) + 2 * watchdogMs)', 'killMs)')],
    caughtBy: 'P1 single writer',
    firstSeed: 2,
  },
  {
    name: 'half of the votes are a majority',
    edits: [edit('protocol/membership.ts', 'return present * 2 > total', 'return present * 2.02 >= total')],
    caughtBy: 'P2 single survivor',
    firstSeed: 13,
  },
  {
    name: 'a voter accepts under a lower ballot than it promised',
    edits: [
      edit(
        'protocol/acceptor.ts',
        "  if (promised && compareBallots(ballot, promised) < 0)\n    return send(state, out, from, { kind: 'refusal', ballot, epoch: value.epoch, reason: { code: 'ballot', promised } })\n",
        '',
      ),
    ],
    caughtBy: 'P2 single survivor',
    firstSeed: 15,
  },
  {
    name: 'votes and promises are said before they are on disk',
    // They are held all the same, so that a write that failed is tried again, and let go without being said twice.
    edits: [
      edit('protocol/outbox.ts', '  else out.push(effect)\n}\n\nexport const send', '  out.push(effect)\n}\n\nexport const send'),
      edit('protocol/outbox.ts', '    out.push(effect)\n    released += 1', '    released += 1'),
    ],
    caughtBy: 'P6 it ends',
    firstSeed: 90,
  },
  {
    name: 'evidence of life is no veto',
    edits: [edit('protocol/veto.ts', '    if (life)\n', '    if (life && nowMs < 0)\n')],
    caughtBy: 'P3 no self-made outage',
    firstSeed: 8,
  },
  {
    name: 'a value that was found gives way although it may have been chosen',
    edits: [
      edit('protocol/proposer.ts', '!isMajority(votesOf(now), (voter) => voter !== also && !attempt.unbound.has(voter))', 'also === also'),
    ],
    caughtBy: 'P2 single survivor',
    firstSeed: 13,
  },
  {
    name: 'what the witness has is overwritten, not adopted',
    edits: [edit('protocol/proposer.ts', "    if (attempt.ruledOut === 'no') adopt(attempt, accepted.ballot, accepted.membership)\n", '')],
    caughtBy: 'P2 single survivor',
    firstSeed: 52,
  },
  {
    name: 'an agent with a conflict or a fence of its own still thaws: the kill is skipped',
    edits: [edit('protocol/running.ts', "  if (mustKill(state)) return 'kill'\n", '')],
    caughtBy: 'P6 it ends',
    firstSeed: 1,
  },
  {
    name: 'what a dead process paused is not thawed',
    edits: [edit('protocol/running.ts', "    if (state.process.desired === 'none') contain(out, 'none')\n", '')],
    caughtBy: 'P6 it ends',
    firstSeed: 458,
  },
  {
    name: 'a failed write is not tried again',
    edits: [edit('protocol/outbox.ts', 'if (state.disk.failure === null || state.disk.unsent.length === 0) return', 'return')],
    caughtBy: 'P5 nothing forgotten',
    firstSeed: 80,
  },
  {
    name: 'the witness never loses its vote',
    edits: [edit('protocol/proposal.ts', 'if (!isLost || !hearsEveryRoom', 'if (isLost || !hearsEveryRoom')],
    caughtBy: 'P6 it ends',
    firstSeed: 1,
  },
  {
    name: 'a node accepts its own fence',
    edits: [
      edit('protocol/acceptor.ts', " || memberOf(value, state.self.node)?.standing === 'fenced'", ''),
      edit('protocol/proposer.ts', " && memberOf(next, member.node)?.standing !== 'fenced') nodes.add", ') nodes.add'),
      edit('protocol/proposer.ts', '=> promises.has(voter) && !never.has(voter)', '=> promises.has(voter)'),
      edit('protocol/proposer.ts', '(attempt.promises.has(voter) && !never.has(voter))', 'attempt.promises.has(voter)'),
      edit(
        'protocol/veto.ts',
        '  if (fenced.includes(state.self.node)) return `${state.self.node} is alive and never agrees to its own fence`\n',
        '',
      ),
    ],
    caughtBy: 'P3 no self-made outage',
    firstSeed: 23,
  },
  {
    name: 'a change needs no majority of the new votes',
    edits: [
      edit(
        'protocol/proposer.ts',
        '  if (!isDecidedBy(now, attempt.value, has)) return\n  const fenced',
        '  if (!isDecidedBy(now, now, has)) return\n  const fenced',
      ),
    ],
    caughtBy: 'P6 it ends',
    firstSeed: 14,
  },
  {
    // Who is let back waits in any case, so the mutant does not.
    name: 'the restart grace frees a contained node',
    edits: [
      edit(
        'protocol/running.ts',
        "    state.process.desired === 'none' &&\n    !state.process.hasHadPermit &&\n",
        '    !state.process.hasHadPermit &&\n',
      ),
      ...noWaitAfterUnfence,
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 54,
  },
  {
    name: "the others accept before the witness's swap held",
    edits: [
      edit(
        'protocol/proposer.ts',
        "  attempt.phase = 'witness-swap'\n",
        "  attempt.phase = 'witness-swap'\n  for (const node of voterNodes(now, attempt.value)) send(state, out, node, { kind: 'accept', ballot: attempt.ballot, membership: attempt.value })\n",
      ),
    ],
    caughtBy: 'P3 no self-made outage',
    firstSeed: 1,
  },
  {
    name: 'the watchdog is petted without a permit',
    edits: [
      edit(
        'protocol/running.ts',
        "  if (state.process.desired === 'none') return hasPermit(state, nowMs)\n",
        "  if (state.process.desired === 'none') return nowMs > -Infinity\n",
      ),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 2,
  },
  {
    name: 'the watchdog is petted before the pause is verified',
    edits: [
      edit(
        'protocol/running.ts',
        'return state.process.contained.level === state.process.desired && state.process.contained.isVerified',
        'return true',
      ),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 17,
  },
  {
    name: 'a heartbeat that was received extends the permit, not only an echo',
    edits: [
      edit(
        'protocol/step.ts',
        '  noteInstalled(state, out, nowMs)\n  if (!mayAck',
        '  noteInstalled(state, out, nowMs)\n  if (votesOf(membership).has(nodeVoter(from, incarnation))) addGrant(state.epoch.grants, nodeVoter(from, incarnation), nowMs, state.timings.permitMs)\n  if (!mayAck',
      ),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 8,
  },
  {
    name: 'an ack counts from its arrival, not from the heartbeat that it echoes',
    edits: [
      edit(
        'protocol/step.ts',
        'addGrant(state.epoch.grants, voter, sentAtMs, state.timings.permitMs)',
        'addGrant(state.epoch.grants, voter, nowMs, state.timings.permitMs)',
      ),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 8,
  },
  {
    name: 'a voter promises to a lower ballot',
    edits: [
      edit('protocol/acceptor.ts', "if (promised && compareBallots(ballot, promised) < 0) return refuse({ code: 'ballot', promised })", ''),
    ],
    caughtBy: 'P2 single survivor',
    firstSeed: 2,
  },
  {
    name: 'a register swap may lower the ballot',
    edits: [
      edit('protocol/proposer.ts', 'if (compareBallots(accepted.ballot, attempt.ballot) >= 0) {', 'if (accepted.ballot.round < 0) {'),
    ],
    caughtBy: 'P2 single survivor',
    firstSeed: 262,
  },
  {
    name: 'the register swaps without comparing',
    edits: [edit('sim/world/witness.ts', 'request.expectedVersion !== register.version', 'request.expectedVersion < 0')],
    caughtBy: 'P2 single survivor',
    firstSeed: 52,
  },
  {
    name: 'a voter keeps acking what it accepted to fence',
    edits: [
      edit('protocol/acceptor.ts', "return accepted === null || memberOf(accepted.membership, node)?.standing !== 'fenced'", 'return true'),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 13,
  },
  {
    name: 'permits are carried over without a cap',
    edits: [edit('protocol/learning.ts', 'Math.min(mayRunUntilMs(state), nowMs + state.timings.permitMs)', 'mayRunUntilMs(state)')],
    caughtBy: 'P1 single writer',
    firstSeed: 31,
  },
  {
    name: 'a node that is told of its fence pauses, and says that it killed',
    edits: [
      edit('protocol/running.ts', "  if (mustKill(state)) return 'kill'\n", "  if (mustKill(state)) return 'pause'\n"),
      edit('protocol/running.ts', "if (level === 'kill' && isVerified) noteKilled", "if (level !== 'none' && isVerified) noteKilled"),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 19,
  },
  {
    name: 'a witness read that was no ack grants',
    edits: [
      edit('protocol/witness-view.ts', 'answer.isCounted) onCountedRead', 'answer.id > 0) onCountedRead'),
      edit(
        'protocol/witness-view.ts',
        "  if (register.membership.epoch !== membership.epoch || digestOf(register.membership) !== digestOf(membership)) return\n  if (register.accepted && memberOf(register.accepted.membership, state.self.node)?.standing === 'fenced') return\n",
        '',
      ),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 361,
  },
  {
    name: 'a node is un-fenced without having killed',
    edits: [
      edit(
        'protocol/proposal.ts',
        '    if (!statement || statement.killedEpoch < member.lastFence) continue\n',
        '    if (!statement) continue\n',
      ),
      edit('protocol/veto.ts', 'if (statement.killedEpoch < before.lastFence)', 'if (statement.killedEpoch < -1)'),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 89,
  },
  {
    name: 'a register that went back is believed',
    edits: [
      edit('protocol/witness-view.ts', '  if (isOlderThanSeen(state, register)) {', '  if (register.version < 0) {'),
      edit('protocol/proposer.ts', '  if (isOlderThanSeen(state, register))\n', '  if (register.version < 0)\n'),
    ],
    caughtBy: 'P6 it ends',
    firstSeed: 12,
  },
  {
    name: 'permits last twice as long as the voters believe',
    edits: [edit('protocol/permit.ts', 'const untilMs = sentAtMs + permitMs', 'const untilMs = sentAtMs + 2 * permitMs')],
    caughtBy: 'P1 single writer',
    firstSeed: 55,
  },
  {
    name: 'an invariant sees what is sent before it is written',
    edits: [edit('protocol/outbox.ts', 'if (state.disk.persistedVersion < state.disk.version) state', 'if (state.disk.version < 0) state')],
    caughtBy: 'invariant',
    firstSeed: 1,
  },
  {
    name: 'an invariant sees workloads that run in quarantine',
    edits: [
      edit('protocol/running.ts', 'return isInQuarantine(state) ? -Infinity : grantedUntilMs(state)', 'return grantedUntilMs(state)'),
    ],
    caughtBy: 'invariant',
    firstSeed: 1,
  },
]

/** The rule that an ordinary mutation takes out, for the schedule that was written for it as well. */
export function editsOf(name: string): readonly Edit[] {
  const mutation = mutations.find((one) => one.name === name)
  if (!mutation) throw new Error(`there is no mutation "${name}"`)
  return mutation.edits
}
