/** The bundled witness over HTTPS: one kept connection, a limit on each call's time and answer, every failure a `failed` answer. */
import { readFile } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { Agent } from 'node:https'
import fetch, { type Response } from 'node-fetch'
import type { Register, WitnessRequest } from '../protocol/messages.ts'
import { etagOf, LARGEST_BODY, parseConflictBody, parseReadBody, parseSwapBody, REGISTER_PATH } from './http-wire.ts'
import type { CreateAnswer, Reader, WitnessClient, WitnessReply } from './register.ts'

export interface HttpWitnessOptions {
  /** `https://host:port` */
  readonly url: string
  readonly caFile: string
  /** Read on every call, so that a new token is used at once. */
  readonly tokenFile: string
  readonly timeoutMs: number
  /** Who reads: the witness counts acks per node and incarnation. */
  readonly reader: Reader
}

class UnexpectedStatus extends Error {
  override readonly name = 'UnexpectedStatus'
}

const NEXT_STEP: { readonly [status: number]: string } = {
  401: 'the token is not the one in the witness’s tokenFile',
  404: 'the witness has no register yet: run roomfence init',
  503: 'the witness is overloaded or its disk failed: see its log',
  507: 'the witness’s disk is full',
}

function unexpected(response: Response): UnexpectedStatus {
  const hint = NEXT_STEP[response.status]
  return new UnexpectedStatus(`the witness answered ${response.status}${hint === undefined ? '' : `: ${hint}`}`)
}

function reasonOf(error: unknown, timeoutMs: number): string {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'AbortError' || error.name === 'TimeoutError') return `no answer of the witness within ${timeoutMs} ms`
  return error.message
}

/** @throws the system's error when `caFile` cannot be read. */
export function createHttpWitness({ url, caFile, tokenFile, timeoutMs, reader }: HttpWitnessOptions): WitnessClient {
  const agent = new Agent({ keepAlive: true, maxSockets: 4, ca: readFileSync(caFile), minVersion: 'TLSv1.2' })
  const address = new URL(REGISTER_PATH, url.endsWith('/') ? url : `${url}/`)

  async function call(target: URL, init: { method: string; headers?: { [name: string]: string }; body?: string }, signal?: AbortSignal) {
    const limit = AbortSignal.timeout(timeoutMs)
    const token = (await readFile(tokenFile, 'utf8')).trim()
    const response = await fetch(target, {
      ...init,
      agent,
      size: LARGEST_BODY,
      redirect: 'error',
      headers: {
        ...init.headers,
        authorization: `Bearer ${token}`,
        ...(init.body !== undefined && { 'content-type': 'application/json' }),
      },
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    })
    // The body is always read, so that the connection can be used again.
    const text = await response.text()
    return { response, body: () => JSON.parse(text) as unknown }
  }

  async function read(request: Extract<WitnessRequest, { kind: 'read' }>, signal?: AbortSignal): Promise<WitnessReply> {
    const target = new URL(address)
    target.search = new URLSearchParams({
      node: reader.node,
      incarnation: reader.incarnation,
      epoch: String(request.epoch),
      digest: request.digest,
    }).toString()
    const { response, body } = await call(target, { method: 'GET' }, signal)
    if (response.status !== 200) throw unexpected(response)
    return { kind: 'register', id: request.id, ...parseReadBody(body()) }
  }

  async function swap(request: Extract<WitnessRequest, { kind: 'swap' }>, signal?: AbortSignal): Promise<WitnessReply> {
    const headers = { 'if-match': etagOf(request.expectedVersion) }
    const { response, body } = await call(address, { method: 'PUT', headers, body: JSON.stringify(request.register) }, signal)
    if (response.status === 412) return { kind: 'conflict', id: request.id, ...parseConflictBody(body()) }
    if (response.status !== 200) throw unexpected(response)
    return { kind: 'swapped', id: request.id, ...parseSwapBody(body()) }
  }

  return {
    async request(request, signal) {
      try {
        return request.kind === 'read' ? await read(request, signal) : await swap(request, signal)
      } catch (error) {
        return { kind: 'failed', id: request.id, reason: reasonOf(error, timeoutMs) }
      }
    },
    async create(register: Omit<Register, 'version'>, signal): Promise<CreateAnswer> {
      try {
        const headers = { 'if-none-match': '*' }
        const { response, body } = await call(address, { method: 'PUT', headers, body: JSON.stringify(register) }, signal)
        if (response.status === 412) return { kind: 'exists', ...parseConflictBody(body()) }
        if (response.status !== 201) throw unexpected(response)
        return { kind: 'created', version: parseSwapBody(body()).version }
      } catch (error) {
        return { kind: 'failed', reason: reasonOf(error, timeoutMs) }
      }
    },
    close: () => agent.destroy(),
  }
}
