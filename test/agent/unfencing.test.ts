/** The coordinator's un-fence: from the checks to the epoch that a majority chooses, and on when it is learned. */
import { afterEach, expect, test } from 'vitest'
import { createUnfencing } from '../../src/agent/unfence/unfencing.ts'
import type { Configuration } from '../../src/config/schema.ts'
import { createLog } from '../../src/observe/log.ts'
import { contactOf } from '../../src/protocol/contact.ts'
import { agent, fencing, first, lifeOf, unfencing } from '../support/protocol-states.ts'
import { nodeId } from '../../src/protocol/ids.ts'
import { defaultTimings } from '../../src/protocol/timings.ts'
import { createFailoverBed, eventually, type FailoverBed, testClock, testConfig } from '../support/failover-bed.ts'

let bed: FailoverBed
const stopping = new AbortController()
afterEach(async () => {
  stopping.abort()
  await bed.close()
})

const b1 = nodeId('b1')
const isFenced = (): boolean =>
  ((bed.store.get('nodes', undefined, 'b1')?.['spec'] as { taints?: { key: string }[] } | undefined)?.taints ?? []).some(
    ({ key }) => key === 'roomfence.io/fenced',
  )

test('goes on with the epoch as soon as it is learned, and asks for it once where nothing is lost', async () => {
  bed = await createFailoverBed()
  bed.taint('b1', 'NoSchedule', 'roomfence.io/fenced')
  const fenced = fencing(first, 'b1')
  const { state } = agent('a1', { durable: { membership: fenced } })
  Object.assign(contactOf(state, b1), { heardAtMs: Infinity, incarnation: lifeOf(b1), statement: { killedEpoch: fenced.epoch } })
  let requests = 0
  // A request would be made again after longer than this test may take.
  const timings = { ...defaultTimings, detectMs: 3_600_000 }
  const shell = createUnfencing({
    configuration: { failover: { ...testConfig, events: false }, timings, isDryRun: false } as unknown as Configuration,
    client: bed.client,
    clock: testClock,
    state: () => state,
    reported: () => [],
    requestUnfence: () => (requests += 1),
    signal: stopping.signal,
    log: createLog('fatal', 'test'),
  })
  const done = shell.start(fenced.epoch, [b1], true, 'ada')
  await eventually('the epoch is asked for', () => requests > 0)
  expect(isFenced()).toBe(true)
  state.durable = { ...state.durable, membership: unfencing(fenced, 'b1') }
  shell.expectLeftovers()
  await eventually('its taint is gone', () => !isFenced())
  await done
  expect(requests).toBe(1)
})
