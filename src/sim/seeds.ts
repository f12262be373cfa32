/** Every seed that ever failed, with what it found. CI runs them all. A changed generator gives a seed another schedule: they stay as more seeds. */
import type { Profile } from './schedule.ts'

export interface RememberedSeed {
  readonly seed: number
  readonly profile: Profile
  readonly found: string
}

const hostile = (seed: number, found: string): RememberedSeed => ({ seed, profile: 'hostile', found })

export const rememberedSeeds: readonly RememberedSeed[] = [
  hostile(4, 'three rivals outbid each other for seven seconds: whoever promised to another now waits one attempt'),
  hostile(13, 'a node that was un-fenced within the restart grace was freed without a permit'),
  hostile(15, 'an epoch was not known to be installed before the next heartbeat: now it is said at once'),
  hostile(154, 'an agent that died after a pause left the workloads paused for ever: the first permit thaws'),
  hostile(241, 'a new boot id counted as proof although the new boot had held a permit before the fence (P1)'),
  hostile(270, 'a restored witness never got its vote back after one failed read'),
  hostile(344, 'replicas of a fenced node must not be trusted from memory (P4): the agent distrusts them when it learns its fence'),
  hostile(889, 'a node that lost its disk could not come back before the witness, nor the witness before it'),
  hostile(948, 'the same with two rooms of two'),
  hostile(2813, 'no-op epochs without end after a restore; a slow old write cleared the failure of a newer one'),
  hostile(2529, 'a winner that rebooted let a frozen loser reconnect, which acknowledged writes and lost them (DRBD planner)'),
  hostile(
    2824,
    'versions seen of a register before it was restored were told as those of the new one, which then looked restored: in and out without end',
  ),
  hostile(13026, 'who finished a value did not ask the voters that only the value has'),
  hostile(117, 'a forced value that was never chosen stayed in the register behind every ordinary epoch'),
  hostile(521450, 'a node let back before its kernel knew that it had been cut off voted, and trusted its stale replica'),
  hostile(31272, 'what a fenced node remembers of its replicas must be distrusted before its kill is said'),
  hostile(3165, 'a lost incarnation had to be in sync to lose its vote, which it cannot while its peers are fenced'),
  hostile(200895, 'the simulator itself: a repair left a stall pending'),
  hostile(203665, 'the observer itself: an old value that may have been chosen is finished whoever lives by then'),
  hostile(313193, 'a disk dead while another voter held an accepted value: a person decides'),
  hostile(406547, 'the same as 965854895, by an agent that had been cut off since before the un-fence'),
  hostile(408010, 'the same, with two coordinators that undid each other for a while'),
  hostile(965854895, 'an agent that had not heard of an un-fence yet tainted the node again and declared it out of service while it ran'),
  hostile(2004324, 'maintenance left the witness as the only voter, and when its register was restored nobody could take its vote away'),
  hostile(2013141, 'maintenance left the witness as the only voter: its door alone was a proof that knows no watchdog (P1)'),
  hostile(2024134, 'a forced epoch was finished late, when those whom it names lived again'),
  hostile(2070893, "a person's word proved something of a node that had come back (P1)"),
  hostile(3029132, 'who learned a new epoch waited for its first ack of the witness, and paused'),
  hostile(5036349, 'a forced attempt took the place of a chosen value in the register, and an ordinary one its place (P2)'),
  hostile(7023220, 'a node ran with its first acks after an un-fence, and one that did not know of it declared it out of service (P1)'),
  hostile(10033965, 'a permit that came and went in step with the pets ended in a reset'),
  hostile(10031976, 'the observer itself: a forced epoch that died with those who had chosen it counted as the last one'),
  hostile(10037774, 'the same, beside an ordinary epoch that was chosen before it'),
  hostile(10079992, 'a thaw that came while the permit was away for a moment was never tried again: paused for ever'),
  hostile(10318429, 'the simulator itself: a person said that those are dead who had gone on by a forced epoch of their own (P2)'),
  hostile(10356932, 'a value was swapped anew that those whom it fences would have had to accept: undecidable from then on'),
  hostile(10423516, 'a swap on an answer of the witness that was overtaken, after it was restored to that very version (P2)'),
  hostile(4012872, 'the simulator itself: its failover went on at the taint of another fence'),
  hostile(5040274, 'the simulator itself: its failover went on without a permit'),
  hostile(5037042, 'the observer itself: an epoch that was learned from the register alone needs one more read for its first ack'),
  hostile(6039498, 'the simulator itself: a restored witness was counted for a majority, since no node was up that had read it'),
  hostile(
    2074794,
    'a disk dead between its promise and the first accepted value, which nobody could then choose or rule out: a person decides',
  ),
  hostile(9009073, 'the only node that had learned a chosen epoch lost its disk, while another held its value: a person decides'),
  hostile(53, 'rivals that never backed off, and the fenced who finished the value that fences them'),
  hostile(203, 'a kill that took longer than two epochs were apart never counted for the later one'),
  hostile(850, 'a register was taught from a reading older than what somebody had seen, and two epochs 2 were chosen (P2)'),
  hostile(2068933, 'the simulator itself: it waited for a majority that had gone with its disks'),
  hostile(2012255, 'the observer itself: paused by a half-finished fence that nobody in contact could finish or rule out (P3)'),
  hostile(2015461, 'the same, fenced by it'),
  hostile(2017494, 'the simulator itself: a room was lost while what had been said before the repair was still under way (P6)'),
  hostile(2019651, 'the same'),
  hostile(2021306, 'the same, with a fence on a slow disk'),
  hostile(2028469, 'the same as 2012255'),
  hostile(2047583, 'the observer itself: a restored register is no good voter, whatever else is switched on'),
  hostile(2063347, 'the same as 2015461'),
  hostile(4021966, 'the same as 4012872'),
  hostile(6033878, "a person's word was a proof for an agent that had only just started and heard nobody yet (P1)"),
  hostile(6037513, 'the same'),
  hostile(6045513, 'the same'),
  hostile(10040472, 'the same as 10031976'),
]
