import { describe, expect, test } from 'vitest'
import { parseConfiguration } from '../src/config/load.ts'
import { defaultFailoverConfig } from './support/failover-examples.ts'
import type { FailoverConfig } from '../src/failover/plan/config.ts'
import { defaultTimings, type Timings } from '../src/protocol/timings.ts'

const configuration = parseConfiguration(`
node: a1
paths: [{ name: node, listenHost: 127.0.0.1, listenPort: 7000 }]
keys: { file: /etc/roomfence/key }
`)

describe('a configuration that says nothing', () => {
  test('has the protocol’s own timings, every one of them', () => {
    const timings: Timings = configuration.timings
    expect(timings).toEqual(defaultTimings)
  })

  test('has the failover’s own settings, every one of them', () => {
    const { maxFencedShare, maxFencedShareOfRoom, capacityEveryMs, ...rest } = configuration.failover
    const failover: FailoverConfig = { ...rest, apiCallMs: configuration.timings.apiCallMs }
    expect(failover).toEqual(defaultFailoverConfig)
    expect({ maxFencedShare, maxFencedShareOfRoom, capacityEveryMs }).toEqual({
      maxFencedShare: 0.5,
      maxFencedShareOfRoom: 0.5,
      capacityEveryMs: 300_000,
    })
  })
})
