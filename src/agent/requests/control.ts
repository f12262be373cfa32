/** The control socket: what a person may ask of this node's agent where no API server answers. HTTP on a Unix socket that only root may open. Adapter. */
import { chmodSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import * as z from 'zod/mini'
import type { Log } from '../../observe/log.ts'
import type { OperatorRequest, RequestReply } from './request.ts'

export interface ControlOptions {
  readonly path: string
  readonly status: () => unknown
  readonly reply: (request: OperatorRequest) => RequestReply
  readonly log: Log
}

export interface Control {
  stop(): Promise<void>
}

export const controlSocket = (stateDirectory: string): string => join(stateDirectory, 'control.sock')

const LONGEST_BODY = 64 * 1024
const names = z.array(z.string().check(z.minLength(1), z.maxLength(253))).check(z.maxLength(2_000))
const by = z.string().check(z.maxLength(253))
const schemas: Readonly<Record<OperatorRequest['kind'], z.ZodMiniType>> = {
  'confirm-dead': z.strictObject({ rooms: names, nodes: names, by }),
  'suspend-fencing': z.strictObject({ isSuspended: z.boolean(), by }),
  unfence: z.strictObject({ rooms: names, nodes: names, isForced: z.boolean(), by }),
  maintenance: z.strictObject({ rooms: names, nodes: names, isOn: z.boolean(), by }),
}

/** Where a request of this kind is sent to. */
export const pathOf = (kind: OperatorRequest['kind']): string => `/${kind}`

const kinds = Object.keys(schemas) as readonly OperatorRequest['kind'][]

/** Without its socket an agent still does all else, so a failure is told and no more. */
export async function startControl({ path, status, reply, log }: ControlOptions): Promise<Control> {
  const server = createServer((request, response) => {
    const answer = (code: number, value: unknown): void => {
      response.writeHead(code, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      response.end(`${JSON.stringify(value)}\n`)
    }
    const key = `${request.method} ${request.url}`
    if (key === 'GET /status') return answer(200, status())
    const kind = kinds.find((one) => request.method === 'POST' && request.url === pathOf(one))
    if (kind === undefined) return answer(404, { isTaken: false, text: `GET /status or POST ${kinds.map(pathOf).join(', ')}` })
    readBody(request).then(
      (text) => {
        const read = schemas[kind].safeParse(parsed(text))
        if (!read.success) return answer(400, { isTaken: false, text: z.prettifyError(read.error) })
        const replied = reply({ ...(read.data as object), kind } as OperatorRequest)
        return answer(replied.isTaken ? 200 : 409, replied)
      },
      (error: unknown) => answer(400, { isTaken: false, text: error instanceof Error ? error.message : String(error) }),
    )
  })
  // Left over from a process that was killed: this process holds the directory's lock, so nobody listens there.
  rmSync(path, { force: true })
  const problem = await new Promise<Error | null>((resolve) => {
    server.once('error', resolve)
    server.listen(path, () => {
      chmodSync(path, 0o600)
      resolve(null)
    })
  })
  if (problem)
    log.error(
      { error: problem, path },
      'no control socket: roomfence confirm-dead, unfence, suspend, resume and maintenance do not work on this node',
    )
  return {
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > LONGEST_BODY) throw new Error(`longer than ${LONGEST_BODY} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
