import { afterEach, expect, test } from 'vitest'
import { unfenceRequest, unfenceValue } from '../../src/agent/requests/annotations.ts'
import { writeUnfenceRequest } from '../../src/agent/unfence/node-request.ts'
import { createLog } from '../../src/observe/log.ts'
import { nodeId } from '../../src/protocol/ids.ts'
import { createFailoverBed, type FailoverBed } from '../support/failover-bed.ts'

let bed: FailoverBed
afterEach(async () => {
  await bed.close()
})

const b1 = nodeId('b1')
const shell = () => ({ client: bed.client, signal: new AbortController().signal, log: createLog('fatal', 'test') })
const node = () => bed.store.get('nodes', undefined, 'b1')

test('an un-fence is written on the Node as the coordinator reads it, once', async () => {
  bed = await createFailoverBed()
  await writeUnfenceRequest(b1, unfenceValue('ada lovelace', true), shell())
  const value = node()?.metadata.annotations?.['roomfence.io/unfence'] ?? ''
  expect(unfenceRequest(value, 'fence-7')).toEqual({ isForced: true, by: 'ada-lovelace' })
  const version = node()?.metadata.resourceVersion
  await writeUnfenceRequest(b1, unfenceValue('ada lovelace', true), shell())
  expect(node()?.metadata.resourceVersion).toBe(version)
  await writeUnfenceRequest(b1, unfenceValue('ada', false), shell())
  expect(unfenceRequest(node()?.metadata.annotations?.['roomfence.io/unfence'] ?? '', 'fence-7')).toEqual({ isForced: false, by: 'ada' })
})

test('while the API server is away it is left to be asked again', async () => {
  bed = await createFailoverBed()
  await bed.server.faults.refuse()
  await writeUnfenceRequest(b1, unfenceValue('ada', false), shell())
  expect(node()?.metadata.annotations?.['roomfence.io/unfence']).toBeUndefined()
})
