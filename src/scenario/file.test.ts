/** Scenario files: all of the repository's can be read, and a wrong one is told by its field. */
import { describe, expect, it } from 'vitest'
import { nodesOf, parseScenario, readScenario, scenarioNames } from './file.ts'

const good = `
rooms: [2, 2]
steps:
  - { atMs: 1000, fault: { kind: power-off, target: b } }
expect:
  - { atMs: 9000, fenced: [b], run: [a] }
untilMs: 9000
demo: yes
`

describe('a scenario file', () => {
  it.each(scenarioNames())('%s says what must hold at the end, and whether real processes play it', (name) => {
    const { title, expect: expectations, untilMs, demo } = readScenario(name)
    expect(title).not.toBe('')
    expect(expectations.at(-1)?.atMs).toBe(untilMs)
    expect(typeof demo === 'string' ? demo.length : demo.scale).toBeGreaterThan(0)
  })

  it('names rooms and nodes', () => {
    expect(nodesOf({ rooms: [2, 1] }, ['a', 'b1'])).toEqual(['a1', 'a2', 'b1'])
    expect(nodesOf({ rooms: [2, 1] }, ['a2', 'witness'])).toEqual(['a2'])
    expect(nodesOf({ rooms: [2, 1] }, [])).toEqual([])
  })

  it('has times that real processes multiply, or a reason why they cannot', () => {
    expect(parseScenario(good, 'x').demo).toMatchObject({ scale: 0.4 })
    expect(parseScenario(good.replace('yes', '{ scale: 0.2 }'), 'x').demo).toEqual({ scale: 0.2 })
    expect(parseScenario(good.replace('yes', 'no, because there is no such thing'), 'x').demo).toBe('there is no such thing')
  })

  it.each([
    ['target: b', 'target: b3', 'saw b3; allowed: a, a1, a2, b, b1, b2, witness, api'],
    ['run: [a]', 'run: [c]', 'expect[0].run'],
    ['untilMs: 9000', 'untilMs: 9500', 'the last one must be at untilMs, 9500'],
    ['kind: power-off', 'kind: power', 'steps[0].fault.kind'],
    ['fenced: [b], ', '', 'expect[0].fenced'],
    ['demo: yes', 'demo: no', 'demo'],
    ['  - { atMs: 9000,', '  - { atMs: 9000, fenced: [], run: [] }\n  - { atMs: 9000,', 'must be after 9000'],
  ])('is refused when %j is %j', (from, to, reason) => {
    expect(good).toContain(from)
    expect(() => parseScenario(good.replace(from, to), 'test/scenarios/x/scenario.yaml')).toThrow(reason)
    expect(() => parseScenario(good.replace(from, to), 'test/scenarios/x/scenario.yaml')).toThrow(/^test\/scenarios\/x\/scenario\.yaml: /)
  })
})
