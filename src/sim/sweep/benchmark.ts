/** How many times faster than real time the simulator is: 3+3 nodes with a witness, one core. */
import { generate } from '../schedule/generate.ts'
import { runSchedule } from '../run/run.ts'
import type { Profile, Schedule } from '../schedule/schedule.ts'

const SCHEDULES = 40

/** Schedules of two rooms, in a world of 3+3 nodes. */
function schedulesOf(profile: Profile): readonly Schedule[] {
  const schedules: Schedule[] = []
  for (let seed = 1; schedules.length < SCHEDULES; seed++) {
    const schedule = generate(seed, profile)
    if (schedule.options.nodesOfRooms.length === 2)
      schedules.push({ ...schedule, options: { ...schedule.options, nodesOfRooms: [3, 3], hasWitness: true } })
  }
  return schedules
}

/** @returns virtual time divided by real time. */
export function benchmarkSimulation(profile: Profile): number {
  const schedules = schedulesOf(profile)
  for (const schedule of schedules.slice(0, 3)) runSchedule(schedule)
  const startMs = performance.now()
  let virtualMs = 0
  for (const schedule of schedules) virtualMs += runSchedule(schedule).virtualMs
  return virtualMs / (performance.now() - startMs)
}
