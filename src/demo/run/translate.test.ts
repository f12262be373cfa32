/** Scenario files in the demo's means: each playable one can be translated, each other one says why not, and times are the file's times its scale. */
import { describe, expect, test } from 'vitest'
import { parseScenario, readScenario, scenarioNames } from '../../scenario/file.ts'
import { translate, untouchedIn } from './translate.ts'

const files = scenarioNames().map(readScenario)
const playable = files.filter(({ demo }) => typeof demo !== 'string')
const scenario = (text: string) => ({ ...parseScenario(text, 'x'), name: 'x', title: 'X' })
const around = (steps: string, demo = 'yes') => `
rooms: [2, 2]
paths: 2
steps: [${steps}]
expect:
  - { atMs: 10000, fenced: [b], run: [a], down: [b2] }
untilMs: 10000
demo: ${demo}
`

describe('a scenario file, played by real processes', () => {
  test.each(playable.map((file) => [file.name, file] as const))('%s can be translated', (_name, file) => {
    const acts = translate(file)
    expect(acts.filter(({ act }) => act.kind !== 'expect').length).toBeGreaterThanOrEqual(file.steps.length)
    expect(acts.at(-1)?.act.kind).toBe('expect')
    expect(acts.map(({ atMs }) => atMs)).toEqual(acts.map(({ atMs }) => atMs).toSorted((a, b) => a - b))
  })

  test.each(files.filter(({ demo }) => typeof demo === 'string').map((file) => [file.name, file] as const))(
    '%s says why it cannot, and how it can be seen instead',
    (name, file) => {
      expect(() => translate(file)).toThrow(
        `real processes cannot play this: ${typeof file.demo === 'string' ? file.demo : ''}; the simulator does: npm run simulate -- --scenario ${name}`,
      )
    },
  )

  test('most of them are', () => {
    expect(playable.length).toBeGreaterThan(files.length * 0.8)
  })

  test('names rooms, nodes, networks and servers as the demo does', () => {
    const file = scenario(
      around(
        '{ atMs: 1000, fault: { kind: cut, from: a, to: b2, isOneWay: true, path: 1 } }, { atMs: 2000, fault: { kind: cut, from: b, to: witness } }, { atMs: 3000, fault: { kind: power-off, target: b } }',
        '{ scale: 0.5 }',
      ),
    )
    expect(translate(file).map(({ atMs, act }) => ({ atMs, act }))).toEqual([
      { atMs: 500, act: { kind: 'cut', from: 'room-a', to: 'b2', isOneWay: true, path: 'storage' } },
      { atMs: 1000, act: { kind: 'cut', from: 'room-b', to: 'witness', isOneWay: false, path: undefined } },
      { atMs: 1500, act: { kind: 'power-off', nodes: ['b1', 'b2'] } },
      {
        atMs: 5000,
        act: {
          kind: 'expect',
          expectation: { fenced: ['b1', 'b2'], run: ['a1', 'a2'], down: ['b2'], sameCopies: false, witnessVotes: undefined },
        },
      },
    ])
    expect(untouchedIn(file)).toEqual(['a1', 'a2'])
  })

  test('takes a flapping link apart, and an agent away for as long as the scale says', () => {
    const flap = translate(scenario(around('{ atMs: 1000, fault: { kind: flap, from: a, to: b, everyMs: 1000, times: 2 } }')))
    expect(flap.map(({ atMs, act }) => [atMs, act.kind])).toEqual([
      [400, 'cut'],
      [800, 'heal'],
      [1200, 'cut'],
      [1600, 'heal'],
      [4000, 'expect'],
    ])
    const [crash] = translate(scenario(around('{ atMs: 0, fault: { kind: crash, target: a1, backMs: 5000 } }')))
    expect(crash).toMatchObject({ act: { kind: 'crash', nodes: ['a1'], forMs: 2000 }, text: 'the agent crashes for 2.0 s: a1' })
  })

  test.each([
    '{ kind: witness, how: restore }',
    '{ kind: api, how: rollback }',
    '{ kind: migrate, vm: 0 }',
    '{ kind: disk, target: a1, how: dead }',
  ])('refuses the step %s, which has no counterpart', (fault) => {
    expect(() => translate(scenario(around(`{ atMs: 1, fault: ${fault} }`)))).toThrow(
      /x: real processes cannot play the step .*"demo: no, because/,
    )
  })

  test('refuses rooms of another shape', () => {
    expect(() => translate(scenario(around('').replace('[2, 2]', '[2, 3]')))).toThrow('rooms of 2 and 3 nodes')
    expect(() => translate(scenario(around('').replace('[2, 2]', '[2, 2, 1]')))).toThrow('saw 3 rooms')
  })
})
