import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type TLSSocket, connect } from 'node:tls'
import { expect, test } from 'vitest'
import { createAuthority } from './certificates.ts'

async function greet(authority = createAuthority(), trusted = authority): Promise<{ peer: string | undefined; organizations: unknown }> {
  const server = authority.server('api', ['localhost', '127.0.0.1'])
  const client = authority.client('node-a1', ['system:masters', 'nodes'])
  const listening = createServer({ cert: server.certificatePem, key: server.keyPem, ca: authority.certificatePem, requestCert: true })
  listening.on('error', () => {}).on('tlsClientError', () => {})
  listening.listen(0, '127.0.0.1')
  await once(listening, 'listening')
  const address = listening.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  try {
    const accepted = once(listening, 'secureConnection') as Promise<[TLSSocket]>
    accepted.catch(() => {})
    const socket = connect({ port, host: '127.0.0.1', ca: trusted.certificatePem, cert: client.certificatePem, key: client.keyPem })
    await once(socket, 'secureConnect')
    const [peer] = await accepted
    const { subject } = peer.getPeerCertificate()
    peer.destroy()
    socket.destroy()
    return { peer: subject.CN, organizations: subject.O }
  } finally {
    listening.close()
  }
}

test('a server and a client of one authority accept each other, and the client is known by name and groups', async () => {
  expect(await greet()).toEqual({ peer: 'node-a1', organizations: ['system:masters', 'nodes'] })
})

test('a server of another authority is refused', async () => {
  await expect(greet(createAuthority('one'), createAuthority('two'))).rejects.toThrow(/certificate/i)
})

test('a certificate holds its hosts, its purpose and its issuer, and is no authority itself', () => {
  const authority = createAuthority('an authority')
  const root = new X509Certificate(authority.certificatePem)
  const server = new X509Certificate(authority.server('api', ['api.example', '127.0.0.9']).certificatePem)
  expect(server.verify(root.publicKey)).toBe(true)
  expect(server.checkHost('api.example')).toBe('api.example')
  expect(server.checkIP('127.0.0.9')).toBe('127.0.0.9')
  expect(server.checkIP('127.0.0.8')).toBeUndefined()
  expect([root.ca, server.ca]).toEqual([true, false])
  expect(server.issuer).toBe('CN=an authority')
  expect(server.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1'])
})
