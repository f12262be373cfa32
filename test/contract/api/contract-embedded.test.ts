/** The contract, against the embedded API server. test/cluster runs it against a real one. */
import { afterAll, beforeAll, describe } from 'vitest'
import { type ApiServer, startApiServer } from '../../../src/demo/apiserver/server.ts'
import type { Connection } from '../../support/api-connection.ts'
import { apiContract } from './contract.ts'
import { expiryContract } from './expiry.ts'

describe('the embedded API server keeps the contract of a real one', () => {
  const admin = 'contract-admin'
  let server: ApiServer | undefined
  beforeAll(async () => {
    server = await startApiServer({ tokens: { [admin]: { name: 'admin', groups: ['system:masters'] } } })
  })
  afterAll(() => server?.close())

  const connect = (): Connection => {
    if (server === undefined) throw new Error('the server is not up yet')
    return { url: server.url, caPem: server.caPem, token: admin }
  }
  apiContract(connect)
  expiryContract(connect, () => server?.faults.compact())
})
