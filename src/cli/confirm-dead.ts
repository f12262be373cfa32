/** `roomfence confirm-dead`: a person's word, given to the agent of this node; then what comes of it, until the fence is there. */
import { request } from 'node:http'
import * as z from 'zod/mini'
import { controlSocket } from '../agent/control.ts'
import { loadConfiguration } from '../config/load.ts'

const SAY_AGAIN_MS = 2_000
const answerSchema = z.object({ isTaken: z.boolean(), text: z.string(), nodes: z.optional(z.array(z.string())) })
const statusSchema = z.object({
  epoch: z.nullable(z.number()),
  lastVeto: z.nullable(z.string()),
  members: z.array(z.object({ node: z.string(), standing: z.string() })),
})

export interface ConfirmDeadOptions {
  readonly config: string
  readonly rooms: readonly string[]
  readonly nodes: readonly string[]
  readonly by: string
  readonly waitMs: number
  readonly say: (line: string) => void
}

/** @returns the process's exit code: 0 all named are fenced and their fence has this word as its proof, 1 it did not come to that. */
export async function confirmDead({ config, rooms, nodes, by, waitMs, say }: ConfirmDeadOptions): Promise<number> {
  const socket = controlSocket(loadConfiguration(config, process.env).stateDirectory)
  const demand = JSON.stringify({ rooms, nodes, by })
  const untilMs = performance.now() + waitMs
  let told = ''
  for (;;) {
    const answer = answerSchema.parse(await ask(socket, 'POST', '/confirm-dead', demand))
    const status = statusSchema.parse(await ask(socket, 'GET', '/status'))
    const named = new Set(answer.nodes ?? [])
    const isFenced = answer.isTaken && status.members.every(({ node, standing }) => !named.has(node) || standing === 'fenced')
    if (isFenced) {
      say(`epoch ${status.epoch}: ${[...named].join(', ')} fenced on the word of ${by}`)
      return 0
    }
    const veto = status.lastVeto === null ? '' : ` (last refusal: ${status.lastVeto})`
    const line = `${answer.isTaken ? '' : 'refused: '}${answer.text}${answer.isTaken ? veto : ''}`
    if (line !== told) say(line)
    told = line
    if (!answer.isTaken) return 1
    if (performance.now() > untilMs) {
      say(
        `not chosen within ${waitMs / 1000} s: a majority of the nodes that are left must agree; roomfence's log on each says why it refuses`,
      )
      return 1
    }
    await new Promise((resolve) => setTimeout(resolve, SAY_AGAIN_MS))
  }
}

function ask(socketPath: string, method: string, path: string, body = ''): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, method, path, headers: { 'content-type': 'application/json' }, timeout: 10_000 }, (response) => {
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
    })
    call.on('timeout', () => call.destroy(new Error('no answer within 10 s')))
    call.on('error', (cause) => {
      reject(
        new Error(
          `the agent of this node does not answer on ${socketPath}: ${cause.message}. Is it running, and are you root on its node?`,
          { cause },
        ),
      )
    })
    call.end(body)
  })
}
