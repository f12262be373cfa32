/** Contract of custom resources: a definition makes them served, its schema is kept, their status is apart. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  at,
  call,
  type Connection,
  eventually,
  failure,
  mergePatch,
  strategicPatch,
  textAt,
  uniqueName,
} from '../../support/api-connection.ts'

export function customResourceContract(connect: () => Connection): void {
  describe('custom resources', () => {
    const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
    const group = `${uniqueName('g')}.roomfence.test`
    const path = `/apis/${group}/v1/doors`
    const column = { name: 'Room', type: 'string', jsonPath: '.spec.room', description: 'where it is' }
    const properties = {
      spec: {
        type: 'object',
        required: ['room'],
        properties: {
          room: { type: 'string', minLength: 1, pattern: '^[a-z-]+$' },
          mode: { type: 'string', enum: ['open', 'shut'], default: 'shut' },
          nodes: { type: 'array', maxItems: 2, items: { type: 'string' } },
          epoch: { type: 'integer', minimum: 1 },
          since: { type: 'string', format: 'date-time' },
          labels: { type: 'object', additionalProperties: { type: 'string' } },
        },
      },
      status: { type: 'object', properties: { phase: { type: 'string', enum: ['Done', 'Failed'] } } },
    }
    const version = (changes: object = {}): object => ({
      name: 'v1',
      served: true,
      storage: true,
      subresources: { status: {} },
      additionalPrinterColumns: [column],
      schema: { openAPIV3Schema: { type: 'object', properties } },
      ...changes,
    })
    const definition = (versions: readonly object[] = [version()], metadata: object = {}): object => ({
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `doors.${group}`, ...metadata },
      spec: {
        group,
        scope: 'Cluster',
        names: { plural: 'doors', singular: 'door', kind: 'Door', listKind: 'DoorList', shortNames: ['dr'] },
        versions,
      },
    })
    const door = (name: string, spec: object, changes: object = {}): object => ({
      apiVersion: `${group}/v1`,
      kind: 'Door',
      metadata: { name },
      spec,
      ...changes,
    })
    beforeAll(async () => {
      const made = await call(connect(), 'POST', definitions, { body: definition() })
      if (made.status !== 201) throw new Error(`the definition was refused: ${JSON.stringify(made.body)}`)
      await eventually(
        () => call(connect(), 'GET', path),
        ({ status }) => status === 200,
      )
    })
    afterAll(() => call(connect(), 'DELETE', `${definitions}/doors.${group}`))

    test('a definition is established, and its resource discovered', async () => {
      const { body } = await call(connect(), 'GET', `${definitions}/doors.${group}`)
      expect(at(body, 'status.conditions')).toContainEqual(expect.objectContaining({ type: 'Established', status: 'True' }))
      const found = await eventually(
        () => call(connect(), 'GET', `/apis/${group}/v1`),
        ({ status }) => status === 200,
      )
      expect((at(found.body, 'resources') as { name: string }[]).map(({ name }) => name).toSorted()).toEqual(['doors', 'doors/status'])
    })

    test.each([
      ['without a schema', (): object => definition([version({ schema: undefined })]), 'spec.versions[0].schema.openAPIV3Schema'],
      [
        'with a column without path',
        (): object => definition([version({ additionalPrinterColumns: [{ name: 'A', type: 'string' }] })]),
        'spec.additionalPrinterColumns[0].JSONPath: Required value',
      ],
      [
        'with a column of no type',
        (): object => definition([version({ additionalPrinterColumns: [{ ...column, type: 'text' }] })]),
        'additionalPrinterColumns[0].type',
      ],
      ['with a name that is not plural.group', (): object => definition([version()], { name: `windows.${group}` }), 'metadata.name'],
    ])('a definition %s is refused by its field', async (_what, body, field) => {
      const reply = await call(connect(), 'POST', definitions, { body: body() })
      expect(reply.status).toBe(422)
      expect(textAt(reply.body, 'message')).toContain(field)
    })

    test('an object is made with its defaults, without unknown fields and without status', async () => {
      const name = uniqueName('door')
      const body = door(name, { room: 'b', unknown: 1 }, { status: { phase: 'Done' } })
      const made = await call(connect(), 'POST', path, { body })
      expect(made.status).toBe(201)
      expect(made.body).toMatchObject({ kind: 'Door', metadata: { name, generation: 1 }, spec: { room: 'b', mode: 'shut' } })
      expect(at(made.body, 'spec.unknown')).toBeUndefined()
      expect(at(made.body, 'status')).toBeUndefined()
    })

    test.each([
      [{}, 'spec.room', 'FieldValueRequired', 'spec.room: Required value'],
      [
        { room: 1 },
        'spec.room',
        'FieldValueTypeInvalid',
        'spec.room: Invalid value: "integer": spec.room in body must be of type string: "integer"',
      ],
      [{ room: 'B' }, 'spec.room', 'FieldValueInvalid', `spec.room: Invalid value: "B": spec.room in body should match '^[a-z-]+$'`],
      [
        { room: 'b', mode: 'ajar' },
        'spec.mode',
        'FieldValueNotSupported',
        'spec.mode: Unsupported value: "ajar": supported values: "open", "shut"',
      ],
      [
        { room: 'b', nodes: [1] },
        'spec.nodes[0]',
        'FieldValueTypeInvalid',
        'spec.nodes[0]: Invalid value: "integer": spec.nodes[0] in body must be of type string: "integer"',
      ],
      [{ room: 'b', nodes: ['a', 'b', 'c'] }, 'spec.nodes', 'FieldValueTooMany', 'spec.nodes: Too many: 3: must have at most 2 items'],
      [
        { room: 'b', epoch: 0 },
        'spec.epoch',
        'FieldValueInvalid',
        'spec.epoch: Invalid value: 0: spec.epoch in body should be greater than or equal to 1',
      ],
      [
        { room: 'b', since: 'today' },
        'spec.since',
        'FieldValueTypeInvalid',
        'spec.since: Invalid value: "today": spec.since in body must be of type date-time: "today"',
      ],
      [
        { room: 'b', labels: { a: 1 } },
        'spec.labels.a',
        'FieldValueTypeInvalid',
        'spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type string: "integer"',
      ],
    ])('the spec %j is refused at %s', async (spec, field, reason, text) => {
      const reply = await call(connect(), 'POST', path, { body: door('wrong', spec) })
      expect(failure(reply)).toMatchObject({
        http: 422,
        code: 422,
        reason: 'Invalid',
        message: `Door.${group} "wrong" is invalid: ${text}`,
      })
      expect(at(reply.body, 'details')).toMatchObject({ name: 'wrong', group, kind: 'Door' })
      expect(at(reply.body, 'details.causes')).toEqual([{ field, reason, message: text.slice(field.length + 2) }])
    })

    test('several faults are told together', async () => {
      const reply = await call(connect(), 'POST', path, { body: door('wrong', { mode: 'ajar' }) })
      expect((at(reply.body, 'details.causes') as { field: string }[]).map(({ field }) => field).toSorted()).toEqual([
        'spec.mode',
        'spec.room',
      ])
      expect(textAt(reply.body, 'message')).toMatch(/ is invalid: \[spec\./)
    })

    test('the status is written apart, checked, and counts no generation', async () => {
      const name = uniqueName('door')
      await call(connect(), 'POST', path, { body: door(name, { room: 'b' }) })
      const body = { metadata: { labels: { a: '1' } }, spec: { room: 'c' }, status: { phase: 'Done' } }
      const below = await call(connect(), 'PATCH', `${path}/${name}/status`, { body, contentType: mergePatch })
      expect(below).toMatchObject({ status: 200, body: { metadata: { generation: 1 }, spec: { room: 'b' }, status: { phase: 'Done' } } })
      expect(at(below.body, 'metadata.labels')).toBeUndefined()
      const main = await call(connect(), 'PATCH', `${path}/${name}`, {
        body: { ...body, status: { phase: 'Failed' } },
        contentType: mergePatch,
      })
      expect(main).toMatchObject({
        status: 200,
        body: { metadata: { generation: 2, labels: { a: '1' } }, spec: { room: 'c' }, status: { phase: 'Done' } },
      })
      const wrong = await call(connect(), 'PATCH', `${path}/${name}/status`, {
        body: { status: { phase: 'Odd' } },
        contentType: mergePatch,
      })
      expect(failure(wrong)).toMatchObject({ http: 422, message: expect.stringContaining('status.phase: Unsupported value: "Odd"') })
    })

    test('an update needs a version, and a strategic patch is not for custom resources', async () => {
      const name = uniqueName('door')
      await call(connect(), 'POST', path, { body: door(name, { room: 'b' }) })
      const blind = await call(connect(), 'PUT', `${path}/${name}`, { body: door(name, { room: 'c' }) })
      expect(failure(blind)).toMatchObject({ http: 422, message: expect.stringContaining('metadata.resourceVersion: Invalid value: 0') })
      const strategic = await call(connect(), 'PATCH', `${path}/${name}`, { body: {}, contentType: strategicPatch })
      expect(failure(strategic)).toMatchObject({
        http: 415,
        reason: 'UnsupportedMediaType',
        message:
          'the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml',
      })
    })

    test('a delete answers with a Status', async () => {
      const name = uniqueName('door')
      await call(connect(), 'POST', path, { body: door(name, { room: 'b' }) })
      expect(await call(connect(), 'DELETE', `${path}/${name}`)).toMatchObject({
        status: 200,
        body: { kind: 'Status', status: 'Success', details: { name, group, kind: 'doors' } },
      })
    })
  })
}
