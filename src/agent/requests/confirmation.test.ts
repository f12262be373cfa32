/** A person's word that one agent was given reaches the others by the Node object. */
import { afterEach, expect, test } from 'vitest'
import { writeConfirmation } from './confirmation.ts'
import { createLog } from '../../observe/log.ts'
import { nodeId } from '../../protocol/ids.ts'
import { agent, fencing, first } from '../../../test/support/protocol-states.ts'
import { createFailoverBed, eventually, type FailoverBed } from '../../../test/support/failover-bed.ts'

let bed: FailoverBed
const over = new AbortController()
afterEach(async () => {
  over.abort()
  await bed.close()
})

const annotation = (node: string): unknown => bed.store.get('nodes', undefined, node)?.metadata.annotations?.['roomfence.io/confirm-dead']

test('the word names the fence and who gave it, waits for an API server that is away, and is not written for a node that is not fenced', async () => {
  bed = await createFailoverBed()
  const { state } = agent('a1', { durable: { membership: fencing(first, 'b1') } })
  const told = { client: bed.client, state: () => state, signal: over.signal, log: createLog('fatal', 'test') }
  await writeConfirmation(nodeId('b2'), 'ada', told)
  expect(annotation('b2')).toBeUndefined()
  await writeConfirmation(nodeId('b1'), 'ada of the night shift', told)
  expect(annotation('b1')).toBe('fence-1,ada-of-the-night-shift')
  let times = 0
  const flaky = {
    ...bed.client,
    get: ((path, options) =>
      ++times === 1 ? Promise.reject(new Error('connection refused')) : bed.client.get(path, options)) as typeof bed.client.get,
  }
  const node = structuredClone(bed.store.get('nodes', undefined, 'b1'))
  if (node === undefined) throw new Error('no node')
  bed.store.update('nodes', { ...node, metadata: { ...node.metadata, annotations: {} } })
  void writeConfirmation(nodeId('b1'), 'ada', { ...told, client: flaky })
  await eventually('it is written at the second try', () => annotation('b1') === 'fence-1,ada')
})
