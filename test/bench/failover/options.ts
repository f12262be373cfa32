/** What can be asked of `npm run bench -- failover`. */
import { type Command, InvalidArgumentError } from 'commander'
import { aNumber, wholeNumber } from '../../../src/cli/options.ts'

/** Some of these, each once, with commas between. */
const someOf =
  <Name extends string>(known: readonly Name[]) =>
  (text: string): readonly Name[] => {
    const given = text.split(',')
    const found = given.flatMap((name) => known.filter((one) => one === name))
    if (found.length === given.length && new Set(found).size === found.length) return found
    throw new InvalidArgumentError(`Allowed: ${known.join(', ')}, each once, with commas between.`)
  }

/** One way by which a dead room's workloads may come back. */
export type Round = 'roomfence' | 'taint' | 'kubernetes'

const allRounds: readonly Round[] = ['roomfence', 'taint', 'kubernetes']

export interface FailoverBenchOptions {
  /** In this order, each once. */
  readonly rounds: readonly Round[]
  readonly vms: number
  /** A round ends when everything runs again, at the latest after this long. */
  readonly capMinutes: number
}

/** The longest wait that Kubernetes alone needs for a Deployment is some six minutes, with its default flags. */
const CAP_MINUTES = 8

/** Adds them to a command. */
export const withOptions = (command: Command): Command =>
  command
    .option('--rounds <names>', 'which, and in which order, with commas between', someOf(allRounds), allRounds)
    .option('--vms <number>', 'virtual machines in the room that dies', wholeNumber(1, 400), 12)
    .option('--cap-minutes <number>', 'a round ends after this long', aNumber(1, 60), CAP_MINUTES)
