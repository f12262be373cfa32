/** The scenario files, `test/scenarios/<name>/scenario.yaml`: one failure that others have published, its steps, and what must hold when. The simulator and the demo play the same files. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { parse } from 'yaml'
import * as z from 'zod/mini'

/** A room (`a`), a node (`a1`), `witness` or `api`. */
const target = z.string().check(z.minLength(1))
const duration = z.number().check(z.positive())
const moment = z.number().check(z.minimum(0))
const share = z.number().check(z.minimum(0), z.maximum(1))
const between = (lowest: number, highest: number) => z.int().check(z.minimum(lowest), z.maximum(highest))
const onPath = z._default(z.nullable(z.int()), null)
const fault = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('cut'),
    from: target,
    to: target,
    isOneWay: z._default(z.boolean(), false),
    path: onPath,
  }),
  z.strictObject({
    kind: z.literal('degrade'),
    from: target,
    to: target,
    path: onPath,
    loss: z._default(share, 0),
    delayMs: z._default(moment, 0.3),
    jitterMs: z._default(moment, 0.5),
    duplicate: z._default(share, 0),
  }),
  z.strictObject({ kind: z.literal('flap'), from: target, to: target, everyMs: duration, times: z.int().check(z.positive()) }),
  z.strictObject({ kind: z.literal('heal') }),
  z.strictObject({ kind: z.literal('power-off'), target }),
  z.strictObject({ kind: z.literal('power-on'), target }),
  z.strictObject({ kind: z.literal('crash'), target, backMs: duration }),
  z.strictObject({ kind: z.literal('stop'), target, forMs: duration }),
  z.strictObject({ kind: z.literal('stall'), target, forMs: duration, thenMs: duration }),
  z.strictObject({ kind: z.literal('clock'), target, rate: duration }),
  z.strictObject({ kind: z.literal('disk'), target, how: z.enum(['slow', 'full', 'good', 'dead']) }),
  z.strictObject({ kind: z.literal('stuck'), target, forMs: duration }),
  z.strictObject({ kind: z.literal('witness'), how: z.enum(['down', 'up', 'slow', 'quick', 'restore']) }),
  z.strictObject({ kind: z.literal('api'), how: z.enum(['down', 'up', 'rollback']) }),
  z.strictObject({ kind: z.literal('unfence'), target }),
  z.strictObject({ kind: z.literal('confirm-dead'), target }),
  z.strictObject({ kind: z.literal('suspension'), isSuspended: z.boolean() }),
  z.strictObject({ kind: z.literal('maintenance'), target, isOn: z.boolean() }),
  z.strictObject({ kind: z.literal('leave'), target, backMs: duration }),
  z.strictObject({ kind: z.literal('migrate'), vm: z.int().check(z.minimum(0)) }),
])

const expectation = z.strictObject({
  atMs: moment,
  /** Exactly these rooms and nodes are fenced in the newest epoch. */
  fenced: z.array(target),
  /** Every VM runs, on one of these; an empty list: none runs anywhere. */
  run: z.array(target),
  /** But those that were started here at first, which do not run. */
  down: z._default(z.array(target), []),
  /** Every VM is the very copy that was started at first: none was ended, moved or started again. */
  sameCopies: z._default(z.boolean(), false),
  /** Whether the witness has its vote; not looked at when absent. */
  witnessVotes: z.optional(z.boolean()),
})

/**
 * Real processes play a scenario with its times multiplied by `scale`: the demo's own times are about so much shorter than the defaults. With
 * `watchdogSeconds` where the demo's two are too few.
 */
const USUAL_SCALE = 0.4
const demo = z.union([
  z.pipe(
    z.literal('yes'),
    z.transform(() => ({ scale: USUAL_SCALE, watchdogSeconds: undefined })),
  ),
  z.strictObject({
    scale: z._default(z.number().check(z.positive(), z.maximum(1)), USUAL_SCALE),
    watchdogSeconds: z.optional(between(1, 60)),
  }),
  z.pipe(
    z.string().check(z.regex(/^no, because \S/)),
    z.transform((text) => text.replace('no, because ', '')),
  ),
])

const file = z
  .strictObject({
    rooms: z.array(between(1, 5)).check(z.minLength(2), z.maxLength(3)),
    witness: z._default(z.boolean(), true),
    paths: z._default(between(1, 2), 1),
    vms: z._default(between(0, 20), 4),
    freezeMode: z._default(z.boolean(), false),
    /** null: no node has a watchdog. */
    watchdogMs: z.optional(z.nullable(duration)),
    steps: z.array(z.strictObject({ atMs: moment, fault })),
    expect: z.array(expectation).check(z.minLength(1)),
    demo,
    untilMs: duration,
    /** Whether everything is repaired and brought back at the end, as after a random schedule. */
    repair: z._default(z.boolean(), true),
  })
  .check(
    z.superRefine(({ rooms, steps, expect, untilMs }, context) => {
      const known = new Set([...placesIn(rooms), 'witness', 'api'])
      const check = (name: string, path: (string | number)[]): void => {
        if (!known.has(name)) context.addIssue({ code: 'custom', path, message: `saw ${name}; allowed: ${[...known].join(', ')}` })
      }
      for (const [i, step] of steps.entries())
        for (const [field, value] of Object.entries(step.fault))
          if (field === 'target' || field === 'from' || field === 'to') check(String(value), ['steps', i, 'fault', field])
      for (const [i, one] of expect.entries()) {
        for (const field of ['fenced', 'run', 'down'] as const) for (const name of one[field]) check(name, ['expect', i, field])
        const beforeMs = expect[i - 1]?.atMs ?? -1
        if (one.atMs <= beforeMs) context.addIssue({ code: 'custom', path: ['expect', i, 'atMs'], message: `must be after ${beforeMs}` })
      }
      if (expect.at(-1)?.atMs !== untilMs)
        context.addIssue({ code: 'custom', path: ['expect'], message: `the last one must be at untilMs, ${untilMs}` })
    }),
  )

const ROOM_LETTERS = 'abc'

/** Rooms and their nodes: `a`, `a1`, `a2`, ... */
function placesIn(rooms: readonly number[]): readonly string[] {
  return rooms.flatMap((nodes, room) => {
    const letter = ROOM_LETTERS[room] ?? ''
    return [letter, ...Array.from({ length: nodes }, (_, i) => `${letter}${i + 1}`)]
  })
}

export type ScenarioFault = z.output<typeof fault>
export type Expectation = z.output<typeof expectation>
export interface ScenarioFile extends z.output<typeof file> {
  readonly name: string
  /** The first line of its README. */
  readonly title: string
}

/** The names of the nodes that rooms and nodes stand for. */
export function nodesOf({ rooms }: Pick<ScenarioFile, 'rooms'>, places: readonly string[]): readonly string[] {
  const nodes = placesIn(rooms).filter((place) => place.length > 1)
  return nodes.filter((node) => places.some((place) => node === place || (place.length === 1 && node.startsWith(place))))
}

const scenarioFolder = new URL('../../test/scenarios/', import.meta.url)

/** Sorted; none where the folder is not there. */
export function scenarioNames(): readonly string[] {
  if (!existsSync(scenarioFolder)) return []
  return readdirSync(scenarioFolder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(new URL(`${entry.name}/scenario.yaml`, scenarioFolder)))
    .map((entry) => entry.name)
    .sort()
}

/** @throws when it is not a scenario: the message names the file and the field. */
export function readScenario(name: string): ScenarioFile {
  const text = readFileSync(new URL(`${name}/scenario.yaml`, scenarioFolder), 'utf8')
  const title = /^# (.*)$/m.exec(readFileSync(new URL(`${name}/README.md`, scenarioFolder), 'utf8'))?.[1] ?? name
  return { ...parseScenario(text, `test/scenarios/${name}/scenario.yaml`), name, title }
}

/** @throws with the field, what was seen and what is allowed. */
export function parseScenario(text: string, where: string): Omit<ScenarioFile, 'name' | 'title'> {
  const read = file.safeParse(parse(text), { error: z.locales.en().localeError })
  if (!read.success) throw new Error(`${where}: ${z.prettifyError(read.error)}`)
  return read.data
}
