/** A scenario file as a schedule of the simulator, with what must hold when. */
import { defaultTimings } from '../../protocol/timings.ts'
import { readScenario, scenarioNames } from '../../scenario/file.ts'
import { type Fault, ORDINARY_WATCHDOG_MS, type Schedule } from '../schedule/schedule.ts'
import { type Checkpoint, checkpointsOf } from './expectation.ts'

export interface Scenario {
  readonly name: string
  readonly schedule: Schedule
  readonly checkpoints: readonly Checkpoint[]
}

/** @throws when the file is not a scenario: the message names the field. */
export function findScenario(name: string): Scenario | undefined {
  if (!scenarioNames().includes(name)) return undefined
  const file = readScenario(name)
  const { rooms, witness, paths, vms, freezeMode, watchdogMs, steps, untilMs, repair } = file
  return {
    name,
    checkpoints: checkpointsOf(file),
    schedule: {
      options: {
        seed: 1,
        nodesOfRooms: rooms,
        hasWitness: witness,
        paths,
        vms,
        isFreezeMode: freezeMode,
        timings: defaultTimings,
        watchdogMs: watchdogMs === undefined ? ORDINARY_WATCHDOG_MS : watchdogMs,
        tickMs: 100,
        rebootMs: [20_000, 30_000],
      },
      planned: steps.map((step) => ({ atMs: step.atMs, fault: step.fault satisfies Fault })),
      strikes: [],
      untilMs,
      finale: null,
      ...(repair ? {} : { isLeftUnrepaired: true }),
    },
  }
}
