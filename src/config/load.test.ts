import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { configurationPage } from './documentation.ts'
import { ConfigurationError } from './errors.ts'
import { meaningOf } from './fields.ts'
import { loadConfiguration, parseConfiguration, parseWitnessConfiguration } from './load.ts'
import { watchdogProblem } from './rules.ts'
import { configurationSchema, witnessSchema } from './schema.ts'
import { childrenOf, elementOf } from './shape.ts'
import type * as z from 'zod/mini'

const LEAST = `
node: a1
paths: [{ name: node, listenHost: 127.0.0.1, listenPort: 7000 }]
keys: { file: /etc/roomfence/key }
`

function problems(text: string, environment: { [name: string]: string } = {}): readonly string[] {
  try {
    parseConfiguration(text, environment)
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    return error.problems.map(({ path, seen, allowed }) => `${path}: ${seen}; ${allowed}`)
  }
  return []
}

describe('a configuration', () => {
  test('has the protocol’s defaults where the file says nothing', () => {
    const configuration = parseConfiguration(LEAST)
    expect(configuration.timings).toMatchObject({ heartbeatMs: 500, permitMs: 5000, detectMs: 3000 })
    expect(configuration.witness).toEqual({ kind: 'none' })
    expect(configuration.cluster.roomLabel).toBe('topology.kubernetes.io/zone')
  })

  test('is frozen all the way down', () => {
    const configuration = parseConfiguration(LEAST)
    expect(
      Object.isFrozen(configuration.timings) &&
        Object.isFrozen(configuration.paths[0]) &&
        Object.isFrozen(configuration.failover.controlPods),
    ).toBe(true)
  })

  test('takes single values from the environment, which wins over the file', () => {
    const configuration = parseConfiguration(`${LEAST}\nisDryRun: false`, {
      ROOMFENCE_NODE: 'b2',
      ROOMFENCE_TIMINGS_PERMIT_MS: '6000',
      ROOMFENCE_IS_DRY_RUN: 'true',
      ROOMFENCE_SERVICE_HOST: '10.0.0.1',
    })
    expect([configuration.node, configuration.timings.permitMs, configuration.isDryRun]).toEqual(['b2', 6000, true])
  })

  test('replaces ${NAME} in texts and refuses one that is not set', () => {
    const text = LEAST.replace('127.0.0.1', '"$${HOST_IP}"')
    expect(parseConfiguration(text, { HOST_IP: '127.0.0.9' }).paths[0]?.listenHost).toBe('127.0.0.9')
    expect(problems(text)[0]).toBe('paths[0].listenHost: ${HOST_IP}; a variable that is set in the environment (HOST_IP is not)')
  })

  test('says all that is wrong at once: path, value seen, what is allowed', () => {
    const text = `
node: A1
paths: [{ name: node, listenHost: 127.0.0.1, listenPort: 70000 }]
keys: { file: /k }
timings: { permitMs: soon }
log: { level: loud }
`
    expect(problems(text)).toEqual([
      'node: "A1"; lower-case letters, digits, "-" and ".", 1 to 253 of them, as Kubernetes names are',
      'paths[0].listenPort: 70000; a port number from 1 to 65535',
      'timings.permitMs: "soon"; a whole number of milliseconds from 100 to 3600000',
      'log.level: "loud"; one of trace, debug, info, warn, error, fatal',
    ])
  })

  test('names the variable when a wrong value came from the environment', () => {
    expect(problems(LEAST, { ROOMFENCE_TIMINGS_PERMIT_MS: '6s' })).toEqual([
      'timings.permitMs (environment ROOMFENCE_TIMINGS_PERMIT_MS): "6s"; a whole number of milliseconds from 100 to 3600000',
    ])
  })

  test('refuses unknown fields and variables and suggests the one that was meant', () => {
    expect(problems(`${LEAST}\ntimings: { permitMS: 1 }`)[0]).toContain('timings.permitMS: an unknown field; did you mean permitMs?')
    expect(problems(LEAST, { ROOMFENCE_TIMINGS_PERMITMS: '1' })[0]).toContain('did you mean ROOMFENCE_TIMINGS_PERMIT_MS?')
  })

  test('never prints what may be a secret', () => {
    const secret = 'c2VjcmV0LXNlY3JldC1zZWNyZXQ='
    const texts = [
      LEAST.replace('/etc/roomfence/key', secret),
      `${LEAST}\nwitness: { kind: http, url: 'https://me:${secret}@w', caFile: /c, tokenFile: ${secret} }`,
      `${LEAST}\ntoken: ${secret}`,
      `${LEAST}\ntoken: ${secret}\ntoken: ${secret}`,
      `${LEAST}\n  ${secret}: [`,
    ]
    for (const text of texts)
      expect(() => parseConfiguration(text)).toThrow(expect.objectContaining({ message: expect.not.stringContaining(secret) }))
    expect(problems(LEAST.replace('127.0.0.1', '"$${S}/x"'), { S: secret }).join()).not.toContain(secret)
  })

  test.each([
    ['timings: { permitMs: 1900 }', 'timings.permitMs: 1900; at least 4 * timings.heartbeatMs = 2000'],
    ['timings: { detectMs: 1400 }', 'timings.detectMs: 1400; at least 3 * timings.heartbeatMs = 1500'],
    ['timings: { detectMs: 5000 }', 'timings.detectMs: 5000; less than timings.permitMs = 5000'],
    ['timings: { detectNodeMs: 2999 }', 'timings.detectNodeMs: 2999; at least timings.detectMs = 3000'],
    ['timings: { lateMs: 3000 }', 'timings.lateMs: 3000; less than timings.detectMs = 3000'],
    ['timings: { lingerMs: 900 }', 'timings.lingerMs: 900; at least 2 * timings.heartbeatMs = 1000'],
    ['timings: { arbitrationDelayMs: 5000 }', 'timings.arbitrationDelayMs: 5000; less than timings.permitMs = 5000'],
    ['timings: { witnessRecentMs: 60000 }', 'timings.witnessRecentMs: 60000; less than timings.witnessShiftMs'],
    ['timings: { witnessRecentMs: 1999 }', 'timings.witnessRecentMs: 1999; at least 2 * timings.witnessReadMs'],
    ['witness: { kind: http, url: "https://w:1", caFile: /c, tokenFile: /t, timeoutMs: 4000 }', 'witness.timeoutMs: 4000; less than'],
    ['witness: { kind: other }', 'witness.kind: "other"; one of none, http'],
    ['containment: { rebootMethod: command }', 'containment.rebootCommand: an empty list; a program'],
    [
      'peerAddresses: { b1: [{ path: storage, host: 127.0.0.1, port: 1 }] }',
      'peerAddresses.b1[0].path: "storage"; a path of this node: node',
    ],
    ['peerAddresses: { a1: [] }', 'peerAddresses.a1: this node itself; other nodes'],
    ['isDryRun: yes', 'isDryRun: "yes"; true or false'],
  ])('is refused with %s', (line, expected) => {
    expect(problems(`${LEAST}\n${line}`).some((problem) => problem.startsWith(expected))).toBe(true)
  })

  test('needs an advertised address where it listens on a wildcard', () => {
    expect(problems(LEAST.replace('127.0.0.1', '0.0.0.0'))[0]).toContain(
      'paths[0].advertiseHost: nothing; the address under which others reach',
    )
  })

  test('stretched by one factor keeps its rules', () => {
    const timings = parseConfiguration(LEAST).timings
    fc.assert(
      fc.property(fc.double({ min: 0.25, max: 10, noNaN: true }), (factor) => {
        const stretched = Object.entries(timings).map(
          ([key, value]) => `${key}: ${key === 'clockRateError' ? value : Math.round(value * factor)}`,
        )
        expect(problems(`${LEAST}\ntimings: {${stretched.join(', ')}}`)).toEqual([])
      }),
      { numRuns: 30 },
    )
  })

  test('of any text at all is a configuration or a ConfigurationError', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.object().map((object) => LEAST + JSON.stringify(object)),
        ),
        (text) => {
          problems(text)
        },
      ),
      { numRuns: 300 },
    )
  })

  test('file that cannot be read is named with the reason', () => {
    expect(() => loadConfiguration('/nowhere/at/all.yaml', {})).toThrow(/\/nowhere\/at\/all.yaml.*\n.*saw ENOENT/)
  })
})

describe('a watchdog', () => {
  test('that fires before a slow agent can pet it is refused', () => {
    const { timings } = parseConfiguration(LEAST)
    expect(watchdogProblem(timings, 5000)).toBeUndefined()
    expect(watchdogProblem(timings, 1999)).toContain('at least 2 * timings.heartbeatMs + timings.lateMs = 2000 ms')
  })
})

describe('the witness’s configuration', () => {
  test('has its own small schema', () => {
    const text = 'tlsCertFile: /c\ntlsKeyFile: /k\ntokenFile: /t\n'
    expect(parseWitnessConfiguration(text).listen).toEqual({ host: '0.0.0.0', port: 9811 })
    expect(() => parseWitnessConfiguration(`${text}node: a1`)).toThrow(/node: saw an unknown field/)
  })
})

describe('docs/configuration.md', () => {
  test('agrees with the schema', () => {
    const file = join(import.meta.dirname, '../../docs/configuration.md')
    if (process.env['UPDATE_DOCS'] === '1') writeFileSync(file, configurationPage())
    expect(readFileSync(file, 'utf8')).toBe(configurationPage())
  })

  test('explains every field', () => {
    const silent = (schema: z.core.$ZodType, at: string): readonly string[] => {
      const element = elementOf(schema)
      if (element) return silent(element, `${at}[]`)
      return childrenOf(schema).flatMap(({ key, schema: child }) => [
        ...(key === 'kind' || meaningOf(child) ? [] : [`${at}.${key}`]),
        ...silent(child, `${at}.${key}`),
      ])
    }
    expect([...silent(configurationSchema, ''), ...silent(witnessSchema, '')]).toEqual([])
  })
})
