/** What can be asked of `npm run bench -- failover`. Pure. */

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

export type Parsed =
  | { readonly kind: 'options'; readonly options: FailoverBenchOptions }
  | { readonly kind: 'help' }
  | { readonly kind: 'wrong'; readonly reason: string }

/** The longest wait that Kubernetes alone needs for a Deployment is some six minutes, with its default flags. */
export const defaultOptions: FailoverBenchOptions = { rounds: allRounds, vms: 12, capMinutes: 8 }

export const usage = `npm run bench -- failover [--rounds ${allRounds.join(',')}] [--vms N] [--cap-minutes M]

  --rounds        which, and in which order                    (default: ${allRounds.join(',')})
  --vms           virtual machines in the room that dies, 1 to 400   (default: ${defaultOptions.vms})
  --cap-minutes   a round ends after this long, 1 to 60              (default: ${defaultOptions.capMinutes})
`

const wrong = (reason: string): Parsed => ({ kind: 'wrong', reason })

const isRound = (name: string): name is Round => allRounds.some((round) => round === name)

const readers: Readonly<Record<string, (seen: string, options: FailoverBenchOptions) => FailoverBenchOptions | string>> = {
  '--rounds': (seen, options) => {
    const rounds = seen.split(',')
    const known = rounds.filter(isRound)
    if (known.length < rounds.length || new Set(known).size < known.length)
      return `--rounds: saw '${seen}', allowed are ${allRounds.join(', ')}, each once, with commas between`
    return { ...options, rounds: known }
  },
  '--vms': (seen, options) => {
    const vms = Number(seen)
    if (!/^\d+$/.test(seen) || vms < 1 || vms > 400) return `--vms: saw '${seen}', allowed is a whole number from 1 to 400`
    return { ...options, vms }
  },
  '--cap-minutes': (seen, options) => {
    const capMinutes = Number(seen)
    if (!/^\d+(\.\d+)?$/.test(seen) || capMinutes < 1 || capMinutes > 60)
      return `--cap-minutes: saw '${seen}', allowed is a number from 1 to 60`
    return { ...options, capMinutes }
  },
}

/** `--name value` or `--name=value`. */
export function parseOptions(args: readonly string[]): Parsed {
  let options = defaultOptions
  const left = args.flatMap((arg) =>
    arg.startsWith('--') && arg.includes('=') ? [arg.slice(0, arg.indexOf('=')), arg.slice(arg.indexOf('=') + 1)] : [arg],
  )
  while (left.length > 0) {
    const name = left.shift() ?? ''
    if (name === '--help') return { kind: 'help' }
    const read = Object.hasOwn(readers, name) ? readers[name] : undefined
    if (read === undefined) return wrong(`saw '${name}', allowed are ${Object.keys(readers).join(', ')}, --help`)
    const seen = left.shift()
    if (seen === undefined) return wrong(`${name}: it needs a value`)
    const next = read(seen, options)
    if (typeof next === 'string') return wrong(next)
    options = next
  }
  return { kind: 'options', options }
}
