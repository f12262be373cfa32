/** What every API server, embedded or real, must say of deploy/: all of it is accepted, field by field, and the rights are enough. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { call, type Connection, eventually } from '../support/api-connection.ts'
import { allManifests, applyManifests, type Applied, exampleManifests, removeManifests } from './manifests.ts'

const nameOf = ({ manifest }: Applied): string => `${manifest.kind} ${manifest.metadata.name}`

export function deployContract(connect: () => Connection): void {
  describe('deploy/', () => {
    let applied: readonly Applied[] = []
    beforeAll(async () => {
      applied = await applyManifests(connect(), allManifests())
    })
    afterAll(() => removeManifests(connect(), allManifests()))

    test('every manifest is accepted, with no field that the server does not know', () => {
      expect(applied.filter(({ reply }) => reply.status !== 201).map((one) => ({ name: nameOf(one), reply: one.reply.body }))).toEqual([])
      expect(applied.length).toBeGreaterThan(15)
    })

    test('the examples of secrets have the right form', async () => {
      const examples = await applyManifests(connect(), exampleManifests(), true)
      expect(examples.map((one) => [nameOf(one), one.reply.status])).toEqual([
        ['Secret roomfence-key', 201],
        ['Secret roomfence-witness-client', 201],
      ])
    })

    test('a misspelt field would have been seen', async () => {
      const [manifest] = allManifests().filter(({ kind }) => kind === 'CustomResourceDefinition')
      if (manifest === undefined) throw new Error('no definition')
      const wrong = { ...manifest, metadata: { name: 'walls.roomfence.io' }, spec: { ...(manifest['spec'] as object), scope: 'Room' } }
      const [answer] = await applyManifests(connect(), [wrong], true)
      expect(answer?.reply.status).toBe(422)
    })

    test('applied a second time, nothing is new', async () => {
      const again = await applyManifests(connect(), allManifests())
      expect(again.filter(({ reply }) => reply.status !== 409).map(nameOf)).toEqual([])
    })

    test('fences are served', async () => {
      const served = await eventually(
        () => call(connect(), 'GET', '/apis/roomfence.io/v1/fences'),
        ({ status }) => status === 200,
      )
      expect(served.body).toMatchObject({ kind: 'FenceList', items: [] })
    })
  })
}
