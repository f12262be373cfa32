/**
 * Rules whose absence six hundred hostile seeds did not show. Each is a gap: of the generator, of the observer, or a rule that another one covers.
 * Until one is caught it proves nothing; docs/simulation.md counts them.
 */
import type { Mutation } from './mutations.ts'
import type { Edit } from './mutant.ts'

const edit = (file: string, find: string, replace: string): Edit => ({ file, find, replace })

export const uncaught: readonly Mutation[] = [
  {
    name: 'the second watchdog interval is dropped',
    edits: [edit('protocol/timings.ts', 'killMs + 2 * watchdogMs)', 'killMs + watchdogMs)')],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'a heartbeat that was received extends the permit, not only an echo',
    edits: [
      edit(
        'protocol/step.ts',
        '  noteInstalled(state, nowMs)\n  if (!mayAck',
        '  noteInstalled(state, nowMs)\n  if (votesOf(membership).has(nodeVoter(from, incarnation))) addGrant(state.grants, nodeVoter(from, incarnation), nowMs, state.timings.permitMs)\n  if (!mayAck',
      ),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'the register swaps without comparing',
    edits: [edit('sim/witness.ts', 'request.expectedVersion !== register.version', 'request.expectedVersion < 0')],
    caughtBy: 'P2 single survivor',
    firstSeed: 0,
  },
  {
    name: 'an epoch is proposed before the last one is installed',
    edits: [edit('protocol/desire.ts', '!state.isInstalled || ', '')],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'a voter keeps acking what it accepted to fence',
    edits: [
      edit('protocol/acceptor.ts', "return accepted === null || memberOf(accepted.membership, node)?.standing !== 'fenced'", 'return true'),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'silence counts while the observer itself was asleep',
    edits: [
      edit(
        'protocol/contact.ts',
        'nowMs - Math.max(lastLifeMs(contactOf(state, node)), state.awakeSinceMs)',
        'nowMs - lastLifeMs(contactOf(state, node))',
      ),
      edit('protocol/veto.ts', 'if (nowMs - state.awakeSinceMs < detectMs)', 'if (detectMs < 0)'),
      edit('protocol/desire.ts', ' || nowMs - state.awakeSinceMs < state.timings.heartbeatMs', ''),
    ],
    caughtBy: 'P3 no self-made outage',
    firstSeed: 0,
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
    firstSeed: 0,
  },
  {
    name: 'a node is un-fenced without having killed or rebooted',
    edits: [
      edit(
        'protocol/desire.ts',
        '    if (!statement || statement.killedEpoch < member.lastFence) continue\n',
        '    if (!statement) continue\n',
      ),
      edit('protocol/veto.ts', 'if (statement.killedEpoch < before.lastFence)', 'if (statement.killedEpoch < -1)'),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'an ack counts from its arrival, not from the heartbeat that it echoes',
    edits: [
      edit(
        'protocol/step.ts',
        'addGrant(state.grants, voter, sentAtMs, state.timings.permitMs)',
        'addGrant(state.grants, voter, nowMs, state.timings.permitMs)',
      ),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'a register swap may lower the ballot',
    edits: [
      edit('protocol/proposer.ts', 'if (compareBallots(accepted.ballot, attempt.ballot) >= 0) {', 'if (accepted.ballot.round < 0) {'),
    ],
    caughtBy: 'P2 single survivor',
    firstSeed: 0,
  },
  {
    name: 'permits are carried over without a cap',
    edits: [edit('protocol/learning.ts', 'Math.min(mayRunUntilMs(state), nowMs + state.timings.permitMs)', 'mayRunUntilMs(state)')],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'a pause counts as a kill',
    edits: [
      edit('protocol/running.ts', "if (level === 'kill' && isVerified) noteKilled", "if (level !== 'none' && isVerified) noteKilled"),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'the proof has no floor: acks of the epoch before count alone',
    edits: [edit('protocol/proof.ts', 'let ackedAtMs = floorMs', 'let ackedAtMs = -Infinity')],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'I/O still in flight after a reset is not waited for',
    edits: [edit('protocol/timings.ts', ' + ioResidueMs\n}', '\n}')],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'the watchdog is petted without a permit',
    edits: [
      edit(
        'protocol/running.ts',
        "  if (state.desired === 'none') return holdsPermit(state, nowMs)\n",
        "  if (state.desired === 'none') return nowMs > -Infinity\n",
      ),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'the watchdog is petted before the pause is verified',
    edits: [edit('protocol/running.ts', 'return state.contained.level === state.desired && state.contained.isVerified', 'return true')],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'a voter promises to a lower ballot',
    edits: [
      edit('protocol/acceptor.ts', "if (promised && compareBallots(ballot, promised) < 0) return refuse({ code: 'ballot', promised })", ''),
    ],
    caughtBy: 'P2 single survivor',
    firstSeed: 0,
  },
  {
    name: 'a node that was fenced in an epoch that it skipped does not kill',
    edits: [
      edit(
        'protocol/running.ts',
        "return member.standing === 'fenced' || (member.lastFence > 0 && member.lastFence > state.durable.killedEpoch)",
        "return member.standing === 'fenced'",
      ),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'a register that went back is believed',
    edits: [
      edit(
        'protocol/witness-view.ts',
        'if (seen?.incarnation === register.incarnation && register.version < seen.version) {',
        'if (seen && register.version < 0) {',
      ),
    ],
    caughtBy: 'P2 single survivor',
    firstSeed: 0,
  },
  {
    name: "a person's word of a node that is not fenced is kept for its next fence",
    edits: [edit('protocol/step.ts', 'if (isFenced(state, node)) state.humanProof', 'state.humanProof')],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'acks of another epoch count',
    edits: [
      edit('protocol/step.ts', ' || ack.epoch !== membership.epoch || ack.digest !== digestOf(membership)) return', ') return'),
      edit(
        'protocol/step.ts',
        '  if (heartbeat.epoch < membership.epoch) return teach(state, out, from, nowMs)\n',
        '  if (heartbeat.epoch < membership.epoch) teach(state, out, from, nowMs)\n  else ',
      ),
    ],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
  {
    name: 'permits last twice as long as the voters believe',
    edits: [edit('protocol/permit.ts', 'const untilMs = sentAtMs + permitMs', 'const untilMs = sentAtMs + 2 * permitMs')],
    caughtBy: 'P1 single writer',
    firstSeed: 0,
  },
]
