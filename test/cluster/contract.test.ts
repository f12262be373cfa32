/** The contract that the demo's API server keeps, unchanged, against a real one: what it demands is what Kubernetes does. */
import { afterAll, beforeAll, describe } from 'vitest'
import { apiContract } from '../contract/api/contract.ts'
import { type ControlPlane, startControlPlane } from './control-plane/start.ts'
import { isClusterSkipped } from './presence.ts'

describe.skipIf(isClusterSkipped())('a real API server keeps the contract', () => {
  let controlPlane: ControlPlane | undefined
  beforeAll(async () => {
    controlPlane = await startControlPlane()
  })
  afterAll(async () => controlPlane?.stop())

  apiContract(() => {
    if (controlPlane === undefined) throw new Error('the control plane is not up yet')
    return { url: controlPlane.url, caPem: controlPlane.caPem, token: controlPlane.adminToken }
  })
})
