/** The agent that is left when the preferred room has gone, there is no witness and no API server: paused, until a person speaks. */
import { statSync } from 'node:fs'
import fetch from 'node-fetch'
import { afterEach, expect, test } from 'vitest'
import { runAgent } from '../../src/agent/agent.ts'
import { controlSocket } from '../../src/agent/requests/control.ts'
import { ask } from '../../src/agent/requests/client.ts'
import { loadConfiguration } from '../../src/config/load.ts'
import { freeUdpPort } from '../../src/demo/link/ports.ts'
import { clusterId, incarnation, nodeId, room } from '../../src/protocol/ids.ts'
import { FORCED_STEP, genesis } from '../../src/protocol/membership.ts'
import { createNodeOnDisk } from './node-on-disk.ts'

const endings: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const end of endings.splice(0).toReversed()) await end()
})

/** Node b1 of a cluster of a1 (preferred room a, never there) and b1, without a witness. */
async function leftAlone() {
  const at = (listening: number) => [{ path: 'node', host: '127.0.0.1', port: listening }]
  const made = await createNodeOnDisk({
    node: 'b1',
    membership: async (own, port) =>
      genesis(
        clusterId('left'),
        [
          { node: nodeId('a1'), room: room('a'), incarnation: incarnation('a1-1'), addresses: at(await freeUdpPort('127.0.0.1')) },
          { node: nodeId('b1'), room: room('b'), incarnation: own, addresses: at(port) },
        ],
        room('a'),
        null,
      ),
  })
  endings.push(made.remove)
  return made
}

test("goes on by a person's word on its control socket, without API server and witness, and says what it does", async () => {
  const { file, state } = await leftAlone()
  const said: string[] = []
  const say = (line: string): void => void said.push(line)
  const confirm = async (node: string) =>
    ask({ config: file, request: { kind: 'confirm-dead', rooms: [], nodes: [node], by: 'ada' }, waitMs: 30_000, say })
  await expect(confirm('a1')).rejects.toThrow('does not answer on')

  const agent = await runAgent(loadConfiguration(file, {}))
  endings.push(() => agent.stop())
  expect(statSync(controlSocket(state)).mode & 0o777).toBe(0o600)
  expect(await confirm('b1')).toBe(1)
  expect(said.splice(0)).toEqual(['refused: b1 is alive: it answers you'])
  expect((await fetch(`http://127.0.0.1:${agent.observePort}/readyz`)).status).toBe(503)

  expect(await confirm('a1')).toBe(0)
  expect(said.at(0)).toContain('a forced epoch is requested, by the confirmation of ada: it fences a1')
  expect(said.at(-1)).toBe(`epoch ${FORCED_STEP}: a1 fenced by the confirmation of ada`)
  expect((await fetch(`http://127.0.0.1:${agent.observePort}/readyz`)).status).toBe(200)
  const status = (await (await fetch(`http://127.0.0.1:${agent.observePort}/status`)).json()) as { proofs: unknown }
  expect(status.proofs).toMatchObject([{ node: 'a1', isProved: true, kind: 'human' }])

  const fencing = async (isSuspended: boolean) =>
    ask({ config: file, request: { kind: 'suspend-fencing', isSuspended, by: 'bob' }, waitMs: 30_000, say: () => {} })
  const statusOf = async () =>
    (await (await fetch(`http://127.0.0.1:${agent.observePort}/status`)).json()) as { fencingPausedBy: string | null; members: unknown }
  expect(await fencing(true)).toBe(0)
  expect((await statusOf()).fencingPausedBy).toBe('bob')
  expect(await fencing(false)).toBe(0)
  expect((await statusOf()).fencingPausedBy).toBeNull()
  const maintenance = async (isOn: boolean, node: string) =>
    ask({ config: file, request: { kind: 'maintenance', rooms: [], nodes: [node], isOn, by: 'bob' }, waitMs: 30_000, say })
  said.splice(0)
  expect(await maintenance(true, 'b1')).toBe(1)
  expect(said).toEqual(['refused: nobody would be left to vote: leave one room out'])
  expect(await maintenance(true, 'a1')).toBe(0)
  expect((await statusOf()).members).toMatchObject([{ node: 'a1', standing: 'fenced', isInMaintenance: true }, { node: 'b1' }])
  expect(await maintenance(false, 'a1')).toBe(0)

  const unfence = async (node: string) =>
    ask({ config: file, request: { kind: 'unfence', rooms: [], nodes: [node], isForced: false, by: 'ada' }, waitMs: 30_000, say })
  said.splice(0)
  expect(await unfence('b1')).toBe(0)
  expect(await unfence('a1')).toBe(1)
  expect(said).toEqual([
    expect.stringContaining('b1 not fenced (any more)'),
    'refused: b1 reaches no API server, and an un-fence needs one: ask a node that does',
  ])
})
