/** The lines of the failover against the embedded API server and its stand-ins. test/cluster plays them on a real control plane. */
import { describe } from 'vitest'
import { stages } from './all.ts'
import { openEmbeddedWorld } from './embedded-world.ts'
import { playScenes } from './lines.ts'

describe('on the embedded API server', () => {
  playScenes('embedded', stages, { open: openEmbeddedWorld, close: async (world) => world.close(), areApart: true })
})
