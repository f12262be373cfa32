/** Contract of our own custom resource: the definition as we ship it is accepted, and kept. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { at, call, type Connection, eventually, failure, mergePatch, textAt, uniqueName } from '../../support/api-connection.ts'

const shipped = new URL('../../../deploy/crds/fences.roomfence.io.yaml', import.meta.url)

export function fenceContract(connect: () => Connection): void {
  describe('fences', () => {
    const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
    const path = '/apis/roomfence.io/v1/fences'
    const name = uniqueName('fence')
    const spec = { epoch: 7, clusterId: 'contract', nodes: ['node-b1'] }
    let isOurs = false
    beforeAll(async () => {
      const made = await call(connect(), 'POST', definitions, { body: parse(readFileSync(shipped, 'utf8')) })
      if (made.status !== 201 && made.status !== 409) throw new Error(`the definition was refused: ${JSON.stringify(made.body)}`)
      isOurs = made.status === 201
      await eventually(
        () => call(connect(), 'GET', path),
        ({ status }) => status === 200,
      )
    })
    afterAll(async () => {
      await call(connect(), 'DELETE', `${path}/${name}`)
      if (isOurs) await call(connect(), 'DELETE', `${definitions}/fences.roomfence.io`)
    })
    const fence = (change: object): object => ({
      apiVersion: 'roomfence.io/v1',
      kind: 'Fence',
      metadata: { name },
      spec: { ...spec, ...change },
    })

    test('a fence is recorded, its status is written apart, and what was committed never changes', async () => {
      expect(await call(connect(), 'POST', path, { body: fence({}) })).toMatchObject({ status: 201, body: { spec } })
      const status = { phase: 'Acting', carriedOutBy: 'node-a1', counts: { vms: 3 } }
      const acted = await call(connect(), 'PATCH', `${path}/${name}/status`, { body: { status }, contentType: mergePatch })
      expect(acted).toMatchObject({ status: 200, body: { spec, status, metadata: { generation: 1 } } })
      const changed = await call(connect(), 'PATCH', `${path}/${name}`, { body: { spec: { epoch: 8 } }, contentType: mergePatch })
      expect(failure(changed)).toMatchObject({
        http: 422,
        message: `Fence.roomfence.io "${name}" is invalid: spec: Invalid value: a committed fence is not changed; un-fence it (annotation roomfence.io/unfence on the node)`,
      })
      expect(at(changed.body, 'details.causes.0.field')).toBe('spec')
    })

    test.each([
      [{ epoch: 0 }, 'spec.epoch: Invalid value: 0: spec.epoch in body should be greater than or equal to 1'],
      [{ nodes: [] }, 'spec.nodes: Invalid value: 0: spec.nodes in body should have at least 1 items'],
      [
        { nodes: 'node-b1' },
        '[spec.nodes: Invalid value: "string": spec.nodes in body must be of type array: "string", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]',
      ],
    ])('a fence with %j is refused', async (change, text) => {
      const reply = await call(connect(), 'POST', path, { body: fence(change) })
      expect(reply.status).toBe(422)
      expect(textAt(reply.body, 'message')).toBe(`Fence.roomfence.io "${name}" is invalid: ${text}`)
    })
  })
}
