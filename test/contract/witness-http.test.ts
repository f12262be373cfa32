import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { WitnessConfiguration } from '../../src/config/schema.ts'
import { createAuthority } from '../../src/demo/certificates.ts'
import { digestOf } from '../../src/protocol/membership.ts'
import { createHttpWitness } from '../../src/witness/http-client.ts'
import type { Reader, WitnessClient } from '../../src/witness/register.ts'
import { type RunningWitness, runWitness } from '../../src/witness/server.ts'
import { FIRST, proposedOf, readerOf, type WitnessBed, witnessContract } from './witness.ts'

const TOKEN = 'a-token-for-tests-only-0123456789'
const authority = createAuthority()
const credentials = authority.server('witness', ['127.0.0.1', 'localhost'])

const ends: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})

interface HttpBed extends WitnessBed {
  readonly configuration: WitnessConfiguration
  readonly folder: string
  port(): number
  stop(): Promise<void>
  start(): Promise<void>
  clientWith(reader: Reader, change?: { url?: string; tokenFile?: string; caFile?: string }): WitnessClient
}

async function openBed(): Promise<HttpBed> {
  const folder = mkdtempSync(join(tmpdir(), 'roomfence-witness-'))
  ends.push(() => rmSync(folder, { recursive: true, force: true }))
  const put = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const configuration: WitnessConfiguration = {
    listen: { host: '127.0.0.1', port: 0 },
    tlsCertFile: put('cert.pem', credentials.certificatePem),
    tlsKeyFile: put('key.pem', credentials.keyPem),
    tokenFile: put('token', `${TOKEN}\n`),
    stateDirectory: join(folder, 'state'),
    log: { level: 'info' },
  }
  const caFile = put('ca.pem', authority.certificatePem)
  let running: RunningWitness | undefined
  const bed: HttpBed = {
    configuration,
    folder,
    port: () => running?.port ?? 0,
    async start() {
      running = await runWitness(configuration)
    },
    async stop() {
      await running?.stop()
      running = undefined
    },
    async restart() {
      await bed.stop()
      await bed.start()
    },
    client: (reader) => bed.clientWith(reader),
    clientWith(reader, change = {}) {
      const client = createHttpWitness({
        url: change.url ?? `https://127.0.0.1:${bed.port()}`,
        caFile: change.caFile ?? caFile,
        tokenFile: change.tokenFile ?? configuration.tokenFile,
        timeoutMs: 20_000,
        reader,
      })
      ends.push(() => client.close())
      return client
    },
  }
  ends.push(() => bed.stop())
  await bed.start()
  return bed
}

witnessContract('the bundled HTTPS register', openBed)

/** A raw call, as an attacker or a broken client would make it. */
function call(
  bed: HttpBed,
  method: string,
  path: string,
  headers: { [name: string]: string } = {},
  body = '',
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { host: '127.0.0.1', port: bed.port(), method, path, headers, ca: authority.certificatePem, agent: false },
      (response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => {
          text += chunk.toString()
        })
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
      },
    )
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

const bearer = { authorization: `Bearer ${TOKEN}` }

describe('the bundled witness', () => {
  test('refuses who does not show the token, and says nothing of the register', async () => {
    const bed = await openBed()
    await bed.client(readerOf('a1')).create(proposedOf(FIRST))
    const attempts: readonly { [name: string]: string }[] = [
      {},
      { authorization: 'Bearer x' },
      { authorization: `Basic ${TOKEN}` },
      { authorization: `Bearer ${TOKEN}x` },
    ]
    for (const headers of attempts) {
      const { status, text } = await call(bed, 'GET', '/v1/register', headers)
      expect([status, text.includes('a1')]).toEqual([401, false])
    }
    writeFileSync(join(bed.folder, 'wrong'), 'another-token-0123456789')
    const wrong = bed.clientWith(readerOf('a1'), { tokenFile: join(bed.folder, 'wrong') })
    expect(await wrong.request({ kind: 'read', id: 1, epoch: FIRST.epoch, digest: '' })).toMatchObject({
      kind: 'failed',
      reason: expect.stringContaining('401'),
    })
  })

  test('is not believed without a certificate of its authority', async () => {
    const bed = await openBed()
    writeFileSync(join(bed.folder, 'other-ca.pem'), createAuthority().certificatePem)
    const client = bed.clientWith(readerOf('a1'), { caFile: join(bed.folder, 'other-ca.pem') })
    const reply = await client.request({ kind: 'read', id: 1, epoch: FIRST.epoch, digest: '' })
    expect(reply).toMatchObject({ kind: 'failed', reason: expect.stringMatching(/certificate|signature/) })
  })

  test('tells when it last counted a read of each node', async () => {
    const bed = await openBed()
    const a1 = bed.client(readerOf('a1'))
    await a1.create(proposedOf(FIRST))
    await bed.client(readerOf('b1')).request({ kind: 'read', id: 1, epoch: FIRST.epoch, digest: digestOf(FIRST) })
    const reply = await a1.request({ kind: 'swap', id: 2, expectedVersion: 1, register: proposedOf(FIRST) })
    expect(reply.memory?.acks).toMatchObject([{ node: 'b1', incarnation: 'b1-1', epoch: 0 }])
    expect(reply.memory?.acks[0]?.agoMs).toBeLessThanOrEqual(reply.memory?.startedAgoMs ?? 0)
  })

  test('refuses a write without a precondition, with two, with nonsense, or too large', async () => {
    const bed = await openBed()
    await bed.client(readerOf('a1')).create(proposedOf(FIRST))
    const good = JSON.stringify(proposedOf(FIRST))
    const status = async (headers: { [name: string]: string }, body: string) =>
      (await call(bed, 'PUT', '/v1/register', { ...bearer, ...headers }, body)).status
    expect(await status({}, good)).toBe(428)
    expect(await status({ 'if-match': '"1"', 'if-none-match': '*' }, good)).toBe(428)
    expect(await status({ 'if-match': '*' }, good)).toBe(428)
    expect(await status({ 'if-match': '"1"' }, '{')).toBe(400)
    expect(await status({ 'if-match': '"1"' }, '{}')).toBe(400)
    expect(await status({ 'if-match': '"1"' }, JSON.stringify({ ...proposedOf(FIRST), version: 9 }))).toBe(400)
    expect(await status({ 'if-match': '"1"' }, 'x'.repeat(2_100_000))).toBe(413)
    expect((await call(bed, 'DELETE', '/v1/register', bearer)).status).toBe(405)
    expect((await call(bed, 'GET', '/v1/else', bearer)).status).toBe(404)
    expect(await status({ 'if-match': '"1"' }, good)).toBe(200)
  })

  test('serves its health and numbers', async () => {
    const bed = await openBed()
    await bed.client(readerOf('a1')).create(proposedOf(FIRST))
    expect(await call(bed, 'GET', '/healthz')).toEqual({ status: 200, text: 'ok\n' })
    const { text } = await call(bed, 'GET', '/metrics')
    expect(text).toContain('roomfence_witness_register_version 1\n')
    expect(text).toContain('roomfence_witness_requests_total{outcome="written"} 1\n')
  })

  test('with a damaged or lost register does not start', async () => {
    const bed = await openBed()
    await bed.client(readerOf('a1')).create(proposedOf(FIRST))
    await bed.stop()
    const file = join(bed.configuration.stateDirectory, 'register.state')
    const whole = readFileSync(file)
    writeFileSync(file, whole.subarray(0, whole.length - 1))
    await expect(runWitness(bed.configuration)).rejects.toMatchObject({ code: 'corrupt' })
    unlinkSync(file)
    await expect(runWitness(bed.configuration)).rejects.toMatchObject({ code: 'lost' })
  })

  test('is the only one on its state', async () => {
    const bed = await openBed()
    await expect(runWitness(bed.configuration)).rejects.toMatchObject({ code: 'locked' })
  })

  test('does not start with a token that can be guessed or files that are not there, and names the field', async () => {
    const bed = await openBed()
    await bed.stop()
    writeFileSync(bed.configuration.tokenFile, 'short')
    await expect(runWitness(bed.configuration)).rejects.toThrow(/tokenFile: saw 5 characters.*at least 16/)
    await expect(runWitness({ ...bed.configuration, tokenFile: '/nowhere' })).rejects.toThrow(/tokenFile: saw ENOENT/)
  })

  test('that stopped gives a failed answer with the reason', async () => {
    const bed = await openBed()
    const a1 = bed.client(readerOf('a1'))
    await bed.stop()
    expect(await a1.request({ kind: 'read', id: 5, epoch: FIRST.epoch, digest: '' })).toMatchObject({
      kind: 'failed',
      id: 5,
      reason: expect.stringMatching(/ECONNREFUSED/),
    })
  })
})

describe('a witness killed in the middle of writes', () => {
  test('comes back with every write that it answered', async () => {
    const bed = await openBed()
    await bed.client(readerOf('a1')).create(proposedOf(FIRST))
    await bed.stop()
    const server = join(import.meta.dirname, '../../src/witness/server.ts')
    const script = `import(${JSON.stringify(server)}).then(async ({ runWitness }) => console.log((await runWitness(${JSON.stringify(bed.configuration)})).port))`
    let answered = 1
    for (let round = 1; round <= 3; round++) {
      const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
      const exited = once(child, 'exit')
      try {
        const [line] = (await once(child.stdout, 'data')) as [Buffer]
        const url = `https://127.0.0.1:${line.toString().trim()}`
        await Promise.all(
          ['a1', 'a2', 'b1'].map(async (name) => {
            const client = bed.clientWith(readerOf(name), { url })
            let expectedVersion = answered
            for (;;) {
              const reply = await client.request({ kind: 'swap', id: 1, expectedVersion, register: proposedOf(FIRST) })
              if (reply.kind === 'failed') return
              if (reply.kind === 'swapped') {
                answered = Math.max(answered, reply.version)
                expectedVersion = reply.version
                if (reply.version > round * 20) child.kill('SIGKILL')
              } else if (reply.kind === 'conflict') expectedVersion = reply.register.version
            }
          }),
        )
      } finally {
        child.kill('SIGKILL')
      }
      await exited
    }
    await bed.start()
    const reply = await bed.client(readerOf('a1')).request({ kind: 'read', id: 2, epoch: FIRST.epoch, digest: digestOf(FIRST) })
    expect(answered).toBeGreaterThan(60)
    // One write may have reached the disk without its answer.
    expect(reply.kind === 'register' && [answered, answered + 1].includes(reply.register.version)).toBe(true)
  })
})
