/** Mutations that ordinary hostile seeds meet too seldom, with schedules written for them. */
import type { Property } from '../../src/sim/observer.ts'
import type { Schedule } from '../../src/sim/schedule.ts'
import type { Edit } from './mutant.ts'

export interface DirectedMutation {
  readonly name: string
  readonly edits: readonly Edit[]
  readonly caughtBy: Property
  readonly schedules: readonly Schedule[]
}

export const directedMutations: readonly DirectedMutation[] = []
