/** The scenarios by name: `test/scenarios/<name>/scenario.yaml`, each one failure that others have published, with the log that must come of it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { z } from 'zod'
import { defaultTimings } from '../protocol/timings.ts'
import { ordinaryWatchdogMs, type Fault, type Schedule } from './schedule.ts'

export interface Scenario {
  readonly name: string
  readonly schedule: Schedule
}

const folder = new URL('../../test/scenarios/', import.meta.url)

const target = z.string().min(1)
const fault = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('cut'),
    from: target,
    to: target,
    isOneWay: z.boolean().default(false),
    path: z.number().int().nullable().default(null),
  }),
  z.strictObject({
    kind: z.literal('degrade'),
    from: target,
    to: target,
    path: z.number().int().nullable().default(null),
    loss: z.number().min(0).max(1).default(0),
    delayMs: z.number().min(0).default(0.3),
    jitterMs: z.number().min(0).default(0.5),
    duplicate: z.number().min(0).max(1).default(0),
  }),
  z.strictObject({ kind: z.literal('flap'), from: target, to: target, everyMs: z.number().positive(), times: z.number().int().positive() }),
  z.strictObject({ kind: z.literal('heal') }),
  z.strictObject({ kind: z.literal('power-off'), target }),
  z.strictObject({ kind: z.literal('power-on'), target }),
  z.strictObject({ kind: z.literal('crash'), target, backMs: z.number().positive() }),
  z.strictObject({ kind: z.literal('stop'), target, forMs: z.number().positive() }),
  z.strictObject({ kind: z.literal('stall'), target, forMs: z.number().positive(), thenMs: z.number().positive() }),
  z.strictObject({ kind: z.literal('clock'), target, rate: z.number().positive() }),
  z.strictObject({ kind: z.literal('disk'), target, how: z.enum(['slow', 'full', 'good', 'dead']) }),
  z.strictObject({ kind: z.literal('stuck'), target, forMs: z.number().positive() }),
  z.strictObject({ kind: z.literal('witness'), how: z.enum(['down', 'up', 'slow', 'quick', 'restore']) }),
  z.strictObject({ kind: z.literal('api'), how: z.enum(['down', 'up', 'rollback']) }),
  z.strictObject({ kind: z.literal('unfence'), target }),
  z.strictObject({ kind: z.literal('confirm-dead'), target }),
  z.strictObject({ kind: z.literal('brake'), isPaused: z.boolean() }),
  z.strictObject({ kind: z.literal('leave'), target, backMs: z.number().positive() }),
  z.strictObject({ kind: z.literal('migrate'), vm: z.number().int().min(0) }),
])

const file = z.strictObject({
  rooms: z.array(z.number().int().min(1).max(5)).min(2).max(3),
  witness: z.boolean().default(true),
  paths: z.number().int().min(1).max(2).default(1),
  vms: z.number().int().min(0).max(20).default(4),
  freezeMode: z.boolean().default(false),
  watchdogMs: z.number().positive().nullable().default(ordinaryWatchdogMs),
  steps: z.array(z.strictObject({ atMs: z.number().min(0), fault })),
  untilMs: z.number().positive(),
  /** Whether everything is repaired and brought back at the end, as after a random schedule. */
  repair: z.boolean().default(true),
})

export function scenarioNames(): readonly string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(new URL(`${entry.name}/scenario.yaml`, folder)))
    .map((entry) => entry.name)
    .sort()
}

/** @throws when the file is not a scenario: the message names the field. */
export function findScenario(name: string): Scenario | undefined {
  if (!scenarioNames().includes(name)) return undefined
  const read = file.safeParse(parse(readFileSync(new URL(`${name}/scenario.yaml`, folder), 'utf8')))
  if (!read.success) throw new Error(`test/scenarios/${name}/scenario.yaml: ${z.prettifyError(read.error)}`)
  const { rooms, witness, paths, vms, freezeMode, watchdogMs, steps, untilMs, repair } = read.data
  return {
    name,
    schedule: {
      options: {
        seed: 1,
        nodesOfRooms: rooms,
        hasWitness: witness,
        paths,
        vms,
        isFreezeMode: freezeMode,
        timings: defaultTimings,
        watchdogMs,
        tickMs: 100,
        rebootMs: [20_000, 30_000],
      },
      planned: steps.map((step) => ({ atMs: step.atMs, fault: step.fault satisfies Fault })),
      strikes: [],
      untilMs,
      finale: null,
      ...(repair ? {} : { endsUnrepaired: true }),
    },
  }
}
