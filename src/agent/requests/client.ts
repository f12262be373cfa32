/** `roomfence confirm-dead`, `unfence`, `pause`, `resume` and `maintenance`: what a person asks of this node's agent, and what comes of it, until an epoch has it. */
import { request as startRequest } from 'node:http'
import * as z from 'zod/mini'
import { loadConfiguration } from '../../config/load.ts'
import { controlSocket, pathOf } from './control.ts'
import type { OperatorRequest } from './request.ts'

const SAY_AGAIN_MS = 2_000
const answerSchema = z.object({ isTaken: z.boolean(), text: z.string(), nodes: z.optional(z.array(z.string())) })
const statusSchema = z.object({
  epoch: z.nullable(z.number()),
  lastVeto: z.nullable(z.string()),
  fencingPausedBy: z.nullable(z.string()),
  members: z.array(z.object({ node: z.string(), standing: z.string(), isInMaintenance: z.boolean() })),
})
type Status = z.infer<typeof statusSchema>

export interface AskOptions {
  readonly config: string
  readonly request: OperatorRequest
  readonly waitMs: number
  readonly say: (line: string) => void
}

/** @returns the process's exit code: 0 an epoch has what was asked for, 1 it did not come to that. */
export async function ask({ config, request, waitMs, say }: AskOptions): Promise<number> {
  const socket = controlSocket(loadConfiguration(config, process.env).stateDirectory)
  const { kind, ...body } = request
  const untilMs = performance.now() + waitMs
  let told = ''
  for (;;) {
    const answer = answerSchema.parse(await call(socket, 'POST', pathOf(kind), JSON.stringify(body)))
    const status = statusSchema.parse(await call(socket, 'GET', '/status'))
    const done = answer.isTaken ? outcome(request, status, new Set(answer.nodes)) : null
    if (done !== null) {
      say(`epoch ${status.epoch}: ${done}`)
      return 0
    }
    const veto = answer.isTaken && status.lastVeto !== null ? ` (last veto: ${status.lastVeto})` : ''
    const line = `${answer.isTaken ? '' : 'refused: '}${answer.text}${veto}`
    if (line !== told) say(line)
    told = line
    if (!answer.isTaken) return 1
    if (performance.now() > untilMs) {
      say(`not chosen within ${waitMs / 1000} s: a majority must agree; each agent's log says why it refuses`)
      return 1
    }
    await new Promise((resolve) => setTimeout(resolve, SAY_AGAIN_MS))
  }
}

/** What was reached, or null: not yet. */
function outcome(request: OperatorRequest, { members, fencingPausedBy }: Status, nodes: ReadonlySet<string>): string | null {
  const named = members.filter(({ node }) => nodes.has(node))
  const names = named.map(({ node }) => node).join(', ')
  if (request.kind === 'confirm-dead')
    return named.every(({ standing }) => standing === 'fenced') ? `${names} fenced by the confirmation of ${request.by}` : null
  if (request.kind === 'unfence') return named.every(({ standing }) => standing !== 'fenced') ? `${names} not fenced (any more)` : null
  if (request.kind === 'suspend-fencing') {
    if (request.isSuspended !== (fencingPausedBy !== null)) return null
    return fencingPausedBy === null ? 'fencing goes on' : `fencing is suspended by ${fencingPausedBy}, until "roomfence resume"`
  }
  if (!named.every(({ isInMaintenance }) => isInMaintenance === request.isOn)) return null
  return `${names} ${request.isOn ? 'in maintenance: neither dead nor alive, without a vote' : 'out of maintenance: the vote comes back when it is in sync'}`
}

function call(socketPath: string, method: string, path: string, body = ''): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const sent = startRequest(
      { socketPath, method, path, headers: { 'content-type': 'application/json' }, timeout: 10_000 },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => {
          try {
            resolve(JSON.parse(text))
          } catch (cause) {
            reject(new Error(`${socketPath} answered something else than JSON`, { cause }))
          }
        })
      },
    )
    sent.on('timeout', () => sent.destroy(new Error('no answer within 10 s')))
    sent.on('error', (cause) => {
      reject(
        new Error(
          `the agent of this node does not answer on ${socketPath}: ${cause.message}. Is it running, and are you root on its node?`,
          {
            cause,
          },
        ),
      )
    })
    sent.end(body)
  })
}
