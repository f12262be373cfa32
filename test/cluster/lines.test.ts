/** The lines of the failover against a real control plane with real virt-controller and virt-api: one for all of them. `-t <stage>` plays one alone. */
import { afterAll, describe } from 'vitest'
import { stages } from '../lines/all.ts'
import { playStages } from '../lines/lines.ts'
import { openRealWorld } from '../lines/real-world.ts'
import type { World } from '../lines/world.ts'
import { isClusterSkipped } from './presence.ts'

describe.skipIf(isClusterSkipped())('on a real control plane with real KubeVirt controllers', () => {
  let world: Promise<World> | undefined
  afterAll(async () => (await world)?.close())
  playStages('real', stages, {
    open: (cluster) => (cluster === undefined ? (world ??= openRealWorld()) : openRealWorld(cluster)),
    close: async (closed) => {
      if (closed.cluster !== undefined) await closed.close()
    },
  })
})
