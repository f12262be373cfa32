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
]
