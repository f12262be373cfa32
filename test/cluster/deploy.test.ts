/** deploy/ on a real API server: every manifest is accepted, field by field. */
import { afterAll, beforeAll, describe } from 'vitest'
import { deployContract } from '../deploy/deploy-contract.ts'
import { type ControlPlane, startControlPlane } from './control-plane/start.ts'
import { isClusterSkipped } from './presence.ts'

describe.skipIf(isClusterSkipped())('a real API server', () => {
  let controlPlane: ControlPlane | undefined
  beforeAll(async () => {
    controlPlane = await startControlPlane()
  })
  afterAll(async () => controlPlane?.stop())

  deployContract(() => {
    if (controlPlane === undefined) throw new Error('the control plane is not up yet')
    return { url: controlPlane.url, caPem: controlPlane.caPem, token: controlPlane.adminToken }
  })
})
