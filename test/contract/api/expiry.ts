/** Contract of versions that are forgotten. Only for a server that can be told to forget: a real one does so by time and load. */
import { describe, expect, test } from 'vitest'
import { at, call, type Connection, createNamespace, failure, textAt, watch } from '../../support/api-connection.ts'

/** @param forget makes the server forget all versions before now */
export function expiryContract(connect: () => Connection, forget: () => void): void {
  describe('forgotten versions', () => {
    test('a watch from a forgotten version is told so as an ERROR event with 410', async () => {
      await createNamespace(connect())
      forget()
      const stream = await watch(connect(), '/api/v1/configmaps', { resourceVersion: '1' })
      expect(stream.status).toBe(200)
      const { object } = await stream.until(({ type }) => type === 'ERROR')
      await stream.ended
      expect(object).toMatchObject({ kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'Expired', code: 410 })
      expect(textAt(object, 'message')).toMatch(/too old resource version: 1 \(\d+\)/)
    })

    test('the next page of a forgotten list is 410, with a token for the rest as it is now', async () => {
      const path = `/api/v1/namespaces/${await createNamespace(connect())}/configmaps`
      const create = (name: string): ReturnType<typeof call> =>
        call(connect(), 'POST', path, { body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name } } })
      for (const name of ['a', 'b', 'c']) await create(name)
      const { body: first } = await call(connect(), 'GET', `${path}?limit=1`)
      await create('d')
      forget()
      const expired = await call(connect(), 'GET', `${path}?limit=10&continue=${textAt(first, 'metadata.continue')}`)
      expect(failure(expired)).toMatchObject({
        http: 410,
        code: 410,
        reason: 'Expired',
        message: expect.stringContaining('The provided continue parameter is too old to display a consistent list result.'),
      })
      const { body: rest } = await call(connect(), 'GET', `${path}?limit=10&continue=${textAt(expired.body, 'metadata.continue')}`)
      expect((at(rest, 'items') as unknown[]).map((item) => at(item, 'metadata.name'))).toEqual(['b', 'c', 'd'])
    })
  })
}
