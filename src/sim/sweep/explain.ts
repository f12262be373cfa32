/** What a failed seed prints: the property, how to replay it, and a schedule shrunk to the faults that it needs, as a timeline. */
import { generate } from '../schedule/generate.ts'
import { runSchedule } from '../run/run.ts'
import type { Fault, Profile, Schedule } from '../schedule/schedule.ts'
import { shrink } from './shrink.ts'
import type { Failure } from './sweep.ts'

const LAST_LINES = 25

export function explain(profile: Profile, failure: Failure, commit: string): readonly string[] {
  const small = shrink(generate(failure.seed, profile), failure.property)
  const outcome = runSchedule(small, true)
  const at = outcome.log.findIndex((line) => line.includes('VIOLATION'))
  return [
    ...nameFailure(profile, failure, commit),
    `  shrunk to ${small.planned.length} faults and ${small.strikes.length} strikes, ${describeWorld(small)}:`,
    ...timelineOf(small).map((line) => `    ${line}`),
    '  and what happens then, up to the violation:',
    ...outcome.log.slice(Math.max(0, at - LAST_LINES), at + 1).map((line) => `    ${line}`),
  ]
}

export const nameFailure = (profile: Profile, { seed, property, text }: Failure, commit: string): readonly string[] => [
  `FAILED seed ${seed} (${property}): ${text}`,
  `  commit ${commit}; replay: npm run simulate -- --profile ${profile} --seed ${seed} --trace`,
]

export const describeWorld = ({ options }: Schedule): string =>
  `rooms of ${options.nodesOfRooms.join('+')} nodes, ${options.hasWitness ? 'with' : 'without'} witness, ${options.isFreezeMode ? 'freeze mode' : 'no freeze mode'}, ${options.paths} path${options.paths > 1 ? 's' : ''}`

export function timelineOf(schedule: Schedule): readonly string[] {
  return [
    ...schedule.planned.map(({ atMs, fault }) => `${(atMs / 1000).toFixed(3).padStart(9)} s  ${describeFault(fault)}`),
    ...schedule.strikes.map(({ moment, nth, fault }) => `at the ${nth}. "${moment}"  ${describeFault(fault)}`),
    `${(schedule.untilMs / 1000).toFixed(3).padStart(9)} s  everything is repaired`,
  ]
}

function describeFault(fault: Fault): string {
  const { kind, ...rest } = fault
  const words = Object.entries(rest)
    .filter(([, value]) => value !== null && value !== false)
    .map(([name, value]) => (value === true ? name : `${name} ${typeof value === 'number' ? Math.round(value * 1000) / 1000 : value}`))
  return [kind, ...words].join(' ')
}
