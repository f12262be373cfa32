/** Takes what a person asks on the control socket: to the protocol, and onto the Nodes, where the other agents look for it. Adapter shell. */
import type { KubeClient } from '../../kubernetes/client.ts'
import type { Log } from '../../observe/log.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { fencedNodes } from '../../protocol/membership.ts'
import type { Input, State } from '../../protocol/state.ts'
import { writeUnfenceRequest } from '../unfence/node-request.ts'
import { unfenceValue } from './annotations.ts'
import { writeConfirmation } from './confirmation.ts'
import { replyTo } from './replies.ts'
import type { OperatorRequest, RequestReply } from './request.ts'

export interface TakeOptions {
  readonly client: KubeClient
  readonly nowMs: () => number
  readonly state: () => State
  readonly feed: (input: Input) => void
  /** An un-fence that was asked for is on all its Nodes, or was tried: the coordinator begins it. */
  readonly onUnfenceWritten: () => void
  readonly isDryRun: boolean
  readonly signal: AbortSignal
  readonly log: Log
}

export function takeRequest(request: OperatorRequest, options: TakeOptions): RequestReply {
  const { state, feed, nowMs, isDryRun, log } = options
  const reply = replyTo(state(), request, nowMs())
  if (reply.isTaken) {
    const input = inputOf(request, reply.nodes)
    if (input) feed(input)
    if (!isDryRun) writeOnNodes(request, reply.nodes, options)
  }
  log.warn({ demand: request }, reply.text)
  return reply
}

/** What the protocol is given; undefined for an un-fence, which the coordinator begins once it has checked it. */
function inputOf(request: OperatorRequest, nodes: readonly NodeId[]): Input | undefined {
  const { by } = request
  switch (request.kind) {
    case 'suspend-fencing':
      return { kind: 'suspend-fencing', isSuspended: request.isSuspended, by }
    case 'maintenance':
      return { kind: 'maintenance', nodes, isOn: request.isOn, by }
    case 'confirm-dead':
      return { kind: 'confirm-dead', nodes, by }
    case 'unfence':
    default:
      return undefined
  }
}

function writeOnNodes(request: OperatorRequest, nodes: readonly NodeId[], options: TakeOptions): void {
  const { by } = request
  const { membership } = options.state().durable
  if (request.kind === 'confirm-dead') for (const node of nodes) void writeConfirmation(node, by, options)
  if (request.kind !== 'unfence' || !membership) return
  const word = unfenceValue(by, request.isForced)
  const asked = fencedNodes(membership).filter((node) => nodes.includes(node))
  void Promise.all(asked.map(async (node) => writeUnfenceRequest(node, word, options))).then(options.onUnfenceWritten)
}
