/** What the shell of the protocol tells its adapters, and when. */
import { expect, test } from 'vitest'
import { agent, first } from '../../test/support/protocol-states.ts'
import { createLoop, type LoopAdapters } from './loop.ts'

test('what was learned is told when it is on disk, and after that, that it was written', async () => {
  const said: string[] = []
  let written: () => void = () => undefined
  const adapters: LoopAdapters = {
    nowMs: () => 0,
    persist: async () =>
      new Promise((resolve) => {
        said.push('persist')
        written = resolve
      }),
    onPersisted: () => said.push(`persisted, version ${loop.state().disk.persistedVersion}`),
    send: () => undefined,
    askWitness: ({ id }) => Promise.resolve({ kind: 'failed', id, reason: 'none' }),
    contain: () => undefined,
    reboot: () => undefined,
    isAllBound: () => Promise.resolve(false),
    onLearned: ({ epoch }) => said.push(`epoch ${epoch}`),
    onNote: () => undefined,
  }
  const loop = createLoop(agent('a1', { durable: null }).state, adapters)
  said.length = 0
  loop.feed({ kind: 'genesis', membership: first })
  expect(said).toEqual(['persist'])
  const version = loop.state().disk.version
  written()
  await new Promise((resolve) => setImmediate(resolve))
  expect(said).toEqual(['persist', 'epoch 0', `persisted, version ${version}`])
})
