/**
 * Mutations of the decision code that ordinary hostile schedules do not find within hundreds of seeds: for each a schedule was written
 * (directed-schedules.ts) that the shipped code survives and the mutant does not.
 */
import type { Property } from '../../src/sim/world/observations.ts'
import {
  acksAfterAccepting,
  ackAcrossEpochs,
  backWithItsPaused,
  bothSwap,
  deafEars,
  type DirectedSchedule,
  hostStoodStill,
  killedAtTheBrink,
  killedWithWritesInFlight,
  quarantineUnheard,
  quarantineWhileUnderWay,
  lastPetOfLostRoom,
  lateAcks,
  lowerBallotAfterHigher,
  notInstalled,
  oldVotesUntilInstalled,
  onlyVoterNoMore,
  readsOnAfterSwap,
  registerWentBack,
  rememberedFromBefore,
  slowReader,
  wordKept,
} from './directed-schedules.ts'
import { bornTwice, installedLongAgo, watchdogOfBefore } from './memory-schedules.ts'
import { quarantineWhileStopped, quarantineWithoutApi } from './quarantine-schedules.ts'
import { type Edit, edit } from '../support/mutation.ts'
import { editsOf, noWaitAfterUnfence } from './mutations.ts'

export interface DirectedMutation {
  readonly name: string
  readonly edits: readonly Edit[]
  readonly caughtBy: Property
  readonly schedule: DirectedSchedule
  /** How many seeds are tried; 4 where it is not said. */
  readonly seeds?: number
}

const noKillBeforeUnfence: readonly Edit[] = [
  edit(
    'protocol/proposal.ts',
    '    if (!statement || statement.killedEpoch < member.lastFence) continue\n',
    '    if (!statement) continue\n',
  ),
  edit('protocol/veto.ts', 'if (statement.killedEpoch < before.lastFence)', 'if (statement.killedEpoch < -1)'),
]

/** Without it a node that did not learn an epoch has no timed proof from who did, whatever else is wrong with that. */
const oldWordOfWatchdog = edit('protocol/acceptor.ts', 'statedInTime ?', 'nowMs > -Infinity ?')

export const directed: readonly DirectedMutation[] = [
  {
    name: 'permits last twice as long as the voters believe',
    edits: editsOf('permits last twice as long as the voters believe'),
    caughtBy: 'P1 single writer',
    schedule: lastPetOfLostRoom,
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
      oldWordOfWatchdog,
    ],
    caughtBy: 'P1 single writer',
    schedule: ackAcrossEpochs,
  },
  {
    name: 'an epoch is proposed before the last one is installed',
    edits: [edit('protocol/proposal.ts', '  if (!state.epoch.isInstalled) return\n', ''), oldWordOfWatchdog],
    caughtBy: 'P1 single writer',
    schedule: notInstalled,
  },
  {
    name: 'the proof has no floor: acks of the epoch before count alone',
    edits: [edit('protocol/proof.ts', 'let ackedAtMs = floorMs', 'let ackedAtMs = -Infinity'), oldWordOfWatchdog],
    caughtBy: 'P1 single writer',
    schedule: oldVotesUntilInstalled,
  },
  {
    name: "a person's word of a node that is not fenced is kept for its next fence",
    edits: [
      edit(
        'protocol/step.ts',
        'else state.requests.confirmedDead.set(node, { by: input.by, requestedAtMs: nowMs })',
        'else state.epoch.fences.set(node, { confirmedBy: input.by })',
      ),
      edit(
        'protocol/learning.ts',
        'newFence(floorMs, before?.epoch === fencedFrom ? state.epoch.votesSinceEpoch : fencedFrom)',
        '{ ...newFence(floorMs, fencedFrom), confirmedBy: view?.confirmedBy }',
      ),
    ],
    caughtBy: 'P1 single writer',
    schedule: wordKept,
  },
  {
    name: 'a register that went back is believed',
    edits: editsOf('a register that went back is believed'),
    caughtBy: 'P2 single survivor',
    schedule: registerWentBack,
  },
  {
    name: 'the register is taught from what was read of it before others saw it newer',
    edits: [edit('protocol/witness-view.ts', '(isStale || isOlderThanSeen(state, register) || register', '(isStale || register')],
    caughtBy: 'P2 single survivor',
    schedule: rememberedFromBefore,
    seeds: 12,
  },
  {
    // Each of the two rules alone is covered by the other: who has not said its kill is not let back, and who is let back without it kills first.
    name: 'a node is let back without having killed, and does not kill for a fence that it skipped',
    edits: [
      ...noKillBeforeUnfence,
      edit(
        'protocol/running.ts',
        "return member.standing === 'fenced' || (member.lastFence > 0 && member.lastFence > state.durable.killedEpoch)",
        "return member.standing === 'fenced'",
      ),
    ],
    caughtBy: 'P1 single writer',
    schedule: backWithItsPaused,
  },
  {
    name: 'a node that is let back does not wait for the permits of those who do not know',
    edits: noWaitAfterUnfence,
    caughtBy: 'P1 single writer',
    schedule: quarantineUnheard,
  },
  {
    name: 'a node that is let back does not wait for what is under way to the API server',
    edits: [edit('protocol/timings.ts', '(permitMs + 2 * apiCallMs)', 'permitMs')],
    caughtBy: 'P1 single writer',
    schedule: quarantineWhileUnderWay,
    seeds: 40,
  },
  {
    name: 'a voter vouches for a watchdog by what was said under other votes',
    edits: [oldWordOfWatchdog],
    caughtBy: 'P1 single writer',
    schedule: watchdogOfBefore,
  },
  {
    name: 'a witness that was restored once more is written anew as if it had never been born',
    edits: [
      edit('protocol/witness-view.ts', ' && !isSeatSeen(state)', ''),
      edit(
        'protocol/proposer.ts',
        '  return isSeatSeen(state) && membership !== null &&',
        '  return register.version < 0 && membership !== null &&',
      ),
    ],
    caughtBy: 'P2 single survivor',
    schedule: bornTwice,
  },
  {
    name: 'that an epoch is installed is forgotten on restart',
    edits: [edit('protocol/state.ts', 'durable.installedEpoch === durable.membership.epoch', 'durable.installedEpoch < -1')],
    caughtBy: 'P6 it ends',
    schedule: installedLongAgo,
  },
  {
    name: 'that wait does not count a stop right before the call',
    edits: [edit('protocol/timings.ts', '(permitMs + 2 * apiCallMs)', '(permitMs + apiCallMs)')],
    caughtBy: 'P1 single writer',
    schedule: quarantineWhileStopped,
    seeds: 40,
  },
  {
    name: 'a node that is let back runs what it has, whether it belongs there or not',
    edits: [
      edit(
        'protocol/running.ts',
        "  out.push({ kind: 'check-bound', lastFence: quarantine.lastFence })\n",
        '  changeDurable(state, out, { freedEpoch: quarantine.lastFence })\n',
      ),
    ],
    caughtBy: 'P1 single writer',
    schedule: quarantineWithoutApi,
  },
  {
    // A pause in the epoch before the fence is no kill under the fence; so the mutant also pauses where it should kill.
    name: 'a fenced node pauses, and says that it killed',
    edits: editsOf('a node that is told of its fence pauses, and says that it killed'),
    caughtBy: 'P1 single writer',
    schedule: backWithItsPaused,
  },
  {
    name: 'permits are carried over without a cap',
    edits: editsOf('permits are carried over without a cap'),
    caughtBy: 'P1 single writer',
    schedule: onlyVoterNoMore,
  },
  {
    name: 'the register swaps without comparing',
    edits: editsOf('the register swaps without comparing'),
    caughtBy: 'P2 single survivor',
    schedule: bothSwap,
  },
  {
    name: 'a witness read that was no ack grants',
    edits: editsOf('a witness read that was no ack grants'),
    caughtBy: 'P1 single writer',
    schedule: readsOnAfterSwap,
  },
  {
    name: 'a heartbeat that was received extends the permit, not only an echo',
    edits: editsOf('a heartbeat that was received extends the permit, not only an echo'),
    caughtBy: 'P1 single writer',
    schedule: deafEars,
  },
  {
    name: 'an ack counts from its arrival, not from the heartbeat that it echoes: a paused workload goes on with a stale one',
    edits: editsOf('an ack counts from its arrival, not from the heartbeat that it echoes'),
    caughtBy: 'P1 single writer',
    schedule: lateAcks,
  },
  {
    name: 'the second watchdog interval is dropped',
    edits: [edit('protocol/timings.ts', 'Math.max(killMs, watchdogMs) + 2 * watchdogMs)', 'Math.max(killMs, watchdogMs) + watchdogMs)')],
    caughtBy: 'P1 single writer',
    schedule: killedAtTheBrink,
    seeds: 20,
  },
  {
    name: "the kernel's pet at the death of the agent is not counted",
    edits: [edit('protocol/timings.ts', 'Math.max(killMs, watchdogMs) + 2 * watchdogMs)', 'killMs + 2 * watchdogMs)')],
    caughtBy: 'P1 single writer',
    schedule: killedAtTheBrink,
    seeds: 20,
  },
  {
    name: 'I/O still in flight after a reset is not waited for',
    edits: [edit('protocol/timings.ts', ' + ioResidueMs\n}', '\n}')],
    caughtBy: 'P1 single writer',
    schedule: killedWithWritesInFlight,
    seeds: 40,
  },
  {
    name: 'silence counts while the observer itself was asleep',
    edits: [
      edit(
        'protocol/contact.ts',
        'nowMs - Math.max(lastLifeMs(contactOf(state, node)), state.process.awakeSinceMs)',
        'nowMs - lastLifeMs(contactOf(state, node))',
      ),
      edit('protocol/veto.ts', 'if (nowMs - state.process.awakeSinceMs < detectMs)', 'if (detectMs < 0)'),
      edit('protocol/proposal.ts', ' || nowMs - state.process.awakeSinceMs < state.timings.heartbeatMs', ''),
    ],
    caughtBy: 'P3 no self-made outage',
    schedule: hostStoodStill,
    seeds: 200,
  },
  {
    name: 'a voter promises to a lower ballot',
    edits: editsOf('a voter promises to a lower ballot'),
    caughtBy: 'P2 single survivor',
    schedule: lowerBallotAfterHigher,
  },
  {
    name: 'a register swap may lower the ballot',
    edits: editsOf('a register swap may lower the ballot'),
    caughtBy: 'P2 single survivor',
    schedule: slowReader,
  },
  {
    // Covered by the truth of what a voter says of its last ack; so the mutant dates that to its acceptance.
    name: 'a voter keeps acking what it accepted to fence, and dates its last ack to before',
    edits: [
      edit('protocol/acceptor.ts', "return accepted === null || memberOf(accepted.membership, node)?.standing !== 'fenced'", 'return true'),
      edit(
        'protocol/step.ts',
        '  contact.ackedAtMs = nowMs\n',
        "  if (!state.durable.accepted || memberOf(state.durable.accepted.membership, from)?.standing !== 'fenced') contact.ackedAtMs = nowMs\n",
      ),
    ],
    caughtBy: 'P1 single writer',
    schedule: acksAfterAccepting,
  },
]
