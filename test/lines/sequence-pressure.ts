/** An API server that asks for patience: 429 with Retry-After in the middle of the deletes. */
import { expect } from 'vitest'
import type { FailoverResult } from '../../src/failover/run/progress.ts'
import type { Bed, PlayedFailover } from './bed.ts'
import { stage } from './lines.ts'
import { createDeployment } from './line-objects.ts'
import type { ProxiedRequest } from '../support/proxy.ts'
import { deadRoom, livingRoom } from './world.ts'

const replicas = 24
/** Let through before the refusals. */
const untilRefused = 5
const refusals = 3
/** Long enough for calls to be under way together, short of what counts as slow. */
const latencyMs = 200

interface Pressed extends PlayedFailover {
  readonly result: FailoverResult
  readonly deletes: readonly ProxiedRequest[]
}

async function play(bed: Bed): Promise<Pressed> {
  await createDeployment(bed.api, bed.namespace, { name: 'web', room: deadRoom, replicas })
  await bed.podsRun('web', deadRoom, replicas)
  const { client, proxy } = await bed.throughProxy()
  const isDelete = ({ method }: { readonly method: string }): boolean => method === 'DELETE'
  let passed = 0
  let refused = 0
  proxy.set(
    { appliesTo: isDelete, latencyMs },
    {
      appliesTo: (request) => {
        if (!isDelete(request)) return false
        if (passed < untilRefused) passed++
        else return refused++ < refusals
        return false
      },
      answer: { status: 429, retryAfterSeconds: 1 },
    },
  )
  bed.withoutEviction()
  await bed.powerOff()
  const played = await bed.failedOver({ client, config: { maxConcurrency: 12 } })
  return { ...played, deletes: proxy.requests.filter(isDelete) }
}

export const orderPressure = stage({
  name: 'pressure',
  play,
  lines: [
    {
      id: 'order-retry-after-honoured',
      part: 'order/concurrency',
      says: 'after a 429 nothing more is begun until the time that Retry-After asks for is over, and then everything is done',
      check: async ({ deletes, events, result }, bed) => {
        const refused = deletes.findIndex(({ status }) => status === 429)
        expect(refused).toBeGreaterThan(-1)
        expect(result.outcome).toBe('finished')
        expect(events).toContainEqual(expect.objectContaining({ kind: 'api-unavailable', retryInMs: 1_000 }))
        // those under way with it had begun before its answer came
        const at = Math.min(...deletes.flatMap(({ status, atMs }) => (status === 429 ? [atMs] : [])))
        const later = deletes.filter(({ atMs }) => atMs > at + 500)
        expect(later.length).toBeGreaterThan(0)
        expect(Math.min(...later.map(({ atMs }) => atMs)) - at).toBeGreaterThan(990)
        await bed.podsRun('web', livingRoom, replicas)
      },
    },
    {
      id: 'order-concurrency-bounded-and-halved',
      part: 'order/concurrency',
      says: 'calls under way at once are bounded, and a 429 halves their number',
      check: ({ deletes }) => {
        const refusedAtMs = deletes.find(({ status }) => status === 429)?.atMs ?? 0
        const isLater = ({ atMs }: ProxiedRequest): boolean => atMs > refusedAtMs + 500
        const before = Math.max(...deletes.filter((request) => !isLater(request)).map(({ together }) => together))
        // those begun before the first of them is answered: with each that succeeds there may be more again
        const later = deletes.filter(isLater).map(({ atMs }) => atMs)
        const after = later.filter((atMs) => atMs < Math.min(...later) + latencyMs).length
        expect(before).toBeGreaterThan(4)
        expect(before).toBeLessThanOrEqual(12)
        expect(after).toBeGreaterThan(0)
        expect(after).toBeLessThanOrEqual(before / 2)
      },
    },
  ],
})
