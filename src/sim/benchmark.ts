/** How many times faster than real time the simulator is: 3+3 nodes with a witness, ordinary times, hostile faults; one core. */
import { runSchedule } from './run.ts'
import { generate } from './generate.ts'
import type { Schedule } from './schedule.ts'

const SEEDS = 40

/** @returns virtual time divided by real time. */
export function benchmarkSimulation(): number {
  const schedules = Array.from({ length: SEEDS }, (_, i): Schedule => {
    const schedule = generate(i + 1, 'ordinary')
    return { ...schedule, options: { ...schedule.options, nodesOfRooms: [3, 3], hasWitness: true } }
  })
  for (const schedule of schedules.slice(0, 3)) runSchedule(schedule)
  const startMs = performance.now()
  let virtualMs = 0
  for (const schedule of schedules) virtualMs += runSchedule(schedule).virtualMs
  return virtualMs / (performance.now() - startMs)
}
