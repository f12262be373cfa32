/** The pure parts of the bench: what is asked, what the figures mean, what the table says. The measuring is played by `npm run bench -- failover` alone. */
import { array, assert, nat, option, property } from 'fast-check'
import { Command } from 'commander'
import { describe, expect, it, test } from 'vitest'
import { callsBetween, kubernetesCalls } from './agent-cost.ts'
import { withOptions } from './options.ts'
import { columns, faults, ratio, type Recovery, remarks, type RoundResult, spread, table } from './bench-table.ts'

const vm = (name: string, orderedMs?: number, runningMs?: number): Recovery => ({ kind: 'VM', name, orderedMs, runningMs })
const results: readonly RoundResult[] = [
  { round: 'roomfence', watchedMs: 30_000, recoveries: [vm('a', 20_000, 24_000), vm('b', 21_000, 25_000), vm('c', 22_000, 29_000)] },
  { round: 'taint', watchedMs: 90_000, recoveries: [vm('a', 70_000, 75_000), vm('b', 71_000, 76_000), vm('c', 72_000)] },
  { round: 'kubernetes', watchedMs: 480_000, recoveries: [vm('a'), vm('b'), vm('c')] },
]

describe('the options of the failover bench', () => {
  const read = (args: readonly string[]): unknown =>
    withOptions(new Command('failover').exitOverride().configureOutput({ writeErr: () => undefined }))
      .parse(args, { from: 'user' })
      .opts()

  it('are all rounds, a dozen VMs and eight minutes unless told', () => {
    expect(read([])).toEqual({ rounds: ['roomfence', 'taint', 'kubernetes'], vms: 12, capMinutes: 8 })
  })

  it('are read with a space or an equals sign', () => {
    expect(read(['--rounds', 'taint,roomfence', '--vms=200', '--cap-minutes', '1.5'])).toEqual({
      rounds: ['taint', 'roomfence'],
      vms: 200,
      capMinutes: 1.5,
    })
  })

  test.each([
    [['--rounds', 'taint,taints'], `argument 'taint,taints' is invalid. Allowed: roomfence, taint, kubernetes, each once`],
    [['--rounds', 'taint,taint'], `argument 'taint,taint' is invalid.`],
    [['--rounds', ''], `argument '' is invalid.`],
    [['--vms', '0'], `option '--vms <number>' argument '0' is invalid. Allowed: a whole number from 1 to 400.`],
    [['--vms', '12x'], `argument '12x' is invalid.`],
    [['--vms'], `option '--vms <number>' argument missing`],
    [['--cap-minutes', '61'], `argument '61' is invalid. Allowed: a number from 1 to 60.`],
    [['--cap', '5'], `unknown option '--cap'`],
    [['toString'], 'too many arguments'],
  ])('%j: a clear error', (args, reason) => {
    expect(() => read(args)).toThrow(reason)
  })
})

describe('first, median and last', () => {
  it('of an even number take the later of the middle two', () => {
    expect(spread([4, 1, 3, 2])).toEqual({ count: 4, back: 4, firstMs: 1, medianMs: 3, lastMs: 4 })
  })

  it('count what did not come back as the latest', () => {
    expect(spread([undefined, 5, 3])).toEqual({ count: 3, back: 2, firstMs: 3, medianMs: 5, lastMs: undefined })
    expect(spread([undefined, 5, undefined])).toEqual({ count: 3, back: 1, firstMs: 5, medianMs: undefined, lastMs: undefined })
    expect(spread([])).toEqual({ count: 0, back: 0, firstMs: undefined, medianMs: undefined, lastMs: undefined })
  })

  it('are in order, and of what is back', () => {
    assert(
      property(array(option(nat(), { nil: undefined }), { minLength: 1 }), (times) => {
        const { count, back, firstMs, medianMs, lastMs } = spread(times)
        const known = times.filter((ms) => ms !== undefined)
        expect([count, back]).toEqual([times.length, known.length])
        expect(firstMs).toBe(known.length === 0 ? undefined : Math.min(...known))
        expect(lastMs).toBe(known.length < times.length ? undefined : Math.max(...known))
        if (medianMs !== undefined) {
          // more than half are back by the median, and not more than half before it
          expect(known.filter((ms) => ms <= medianMs).length * 2).toBeGreaterThan(times.length)
          expect(known.filter((ms) => ms < medianMs).length * 2).toBeLessThanOrEqual(times.length)
        } else expect(known.length * 2).toBeLessThanOrEqual(times.length)
      }),
    )
  })
})

describe('the table', () => {
  it('has a row a round with its own figures, and compares the medians with roomfence', () => {
    expect(table(results)).toEqual([
      'VM (3)                ordered: first   median     last  running: first   median       last  of roomfence  back',
      'roomfence                     20.0 s   21.0 s   22.0 s          24.0 s   25.0 s     29.0 s         1.0 x   3/3',
      'taint alone, by hand          70.0 s   71.0 s   72.0 s          75.0 s   76.0 s  > 1.5 min         3.0 x   2/3',
      'Kubernetes alone             > 8 min  > 8 min  > 8 min         > 8 min  > 8 min    > 8 min      > 19.2 x   0/3',
      '',
    ])
  })

  it('leaves out a kind of workload that there is not, and keeps kinds apart', () => {
    const web: Recovery = { kind: 'Deployment pod', name: 'web', orderedMs: undefined, runningMs: 4_000 }
    const lines = table([{ round: 'roomfence', watchedMs: 5_000, recoveries: [web] }])
    expect(lines).toHaveLength(3)
    expect(lines[0]).toMatch(/^Deployment pod \(1\) /)
    expect(lines[1]).toMatch(/^roomfence +> 0\.1 min .* 4\.0 s +1\.0 x +1\/1$/)
  })

  it('gives no ratio where roomfence was not measured', () => {
    expect(ratio(5_000, 9_000, undefined)).toBe('-')
    expect(ratio(undefined, 60_000, 30_000)).toBe('> 2.0 x')
    expect(ratio(60_000, 90_000, 30_000)).toBe('2.0 x')
  })

  it('says in words what is not back', () => {
    expect(remarks(results)).toEqual([
      'taint alone, by hand: 1 of 3 VMs not back after 1.5 min',
      'Kubernetes alone: 3 of 3 VMs not back after 8 min',
    ])
  })

  it('has columns as wide as their widest cell', () => {
    expect(
      columns([
        ['a', '1', 'x'],
        ['bbb', '1000', ''],
      ]),
    ).toEqual(['a       1  x', 'bbb  1000'])
  })
})

describe('a run is wrong', () => {
  const fine = { ranTwice: [], unfinished: undefined }
  const [byRoomfence, byTaint, byKubernetes] = results.map((result) => ({ ...result, ...fine }))
  if (!byRoomfence || !byTaint || !byKubernetes) throw new Error('three rounds')

  it('not because Kubernetes or the taint left something away', () => {
    expect(faults([byRoomfence, byTaint, byKubernetes])).toEqual([])
  })

  it('when anything ran twice, in any round', () => {
    expect(faults([{ ...byTaint, ranTwice: ['vm x/a'] }])).toEqual(['taint alone, by hand: ran twice: vm x/a'])
  })

  it('when roomfence was not finished, or left one away', () => {
    expect(faults([{ ...byRoomfence, recoveries: [vm('a', 1_000)], unfinished: 'its fence is Waiting' }])).toEqual([
      'roomfence: its fence is Waiting',
      'roomfence: VM a is not back',
    ])
  })
})

describe('calls of an agent', () => {
  const before = kubernetesCalls(
    '# TYPE x counter\nroomfence_kubernetes_calls_total{method="GET",outcome="ok"} 10\nother{method="GET",outcome="ok"} 99\n',
  )
  const after = kubernetesCalls(
    'roomfence_kubernetes_calls_total{method="GET",outcome="ok"} 12\nroomfence_kubernetes_calls_total{outcome="conflict",method="PATCH"} 30\n',
  )

  it('are those added between two looks, the most first', () => {
    expect(callsBetween(before, after)).toBe('32: 30 PATCH conflict, 2 GET ok')
  })

  it('are none when nothing was added', () => {
    expect(callsBetween(after, after)).toBe('0')
  })
})
