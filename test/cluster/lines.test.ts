/** The lines of the failover against a real control plane with real virt-controller and virt-api: one for all of them. `-t <stage>` plays one alone. */
import { afterAll, describe } from 'vitest'
import { stages } from '../lines/all.ts'
import { playScenes } from '../lines/lines.ts'
import { openRealWorld } from '../lines/real-world.ts'
import type { ClusterKind, World } from '../lines/world.ts'
import { isClusterSkipped } from './presence.ts'

describe.skipIf(isClusterSkipped())('on a real control plane with real KubeVirt controllers', () => {
  let world: Promise<World> | undefined
  const times: string[] = []
  afterAll(async () => {
    await (await world)?.close()
    process.stdout.write(`\nstages of lines, played and cleaned:\n${times.join('\n')}\n`)
  })
  const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`.padStart(8)
  const worlds = {
    open: (cluster?: ClusterKind) => (cluster === undefined ? (world ??= openRealWorld()) : openRealWorld(cluster)),
    close: async (closed: World) => {
      if (closed.cluster !== undefined) await closed.close()
    },
  }
  playScenes('real', stages, worlds, (stage, playedMs, cleanedMs) => {
    times.push(`  ${stage.padEnd(24)} ${seconds(playedMs)} ${seconds(cleanedMs)}`)
  })
})
