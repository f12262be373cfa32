/** What agents say to one another and to the witness, over the network of the virtual world. */
import type { Message, WitnessRequest } from '../../protocol/messages.ts'
import { noteRegister } from '../observer/epochs.ts'
import { answerRequest } from '../world/witness.ts'
import type { SimNode, World } from '../world/world.ts'
import { isDeaf } from './process.ts'

export function deliver(world: World, from: SimNode, to: string, message: Message): void {
  const receiver = world.nodeByName.get(to)
  if (!receiver) return
  const { incarnation, name, life: senderLife } = from
  const isStatement = message.kind === 'heartbeat' || message.kind === 'consent'
  if (isStatement) from.sentCount += 1
  const order = from.sentCount
  // Each packet says for which life of the receiver it was made (docs/wire-format.md, "Replay").
  const receiverLife = receiver.life
  if (receiver === from) {
    const { life } = from
    world.timeline.in(0, () => {
      if (from.life === life) world.feed(from, { kind: 'message', from: name, incarnation, message })
    })
    return
  }
  world.network.travel(from.index, receiver.index, message.kind, () => {
    const latest = receiver.heardOf.get(from.index)
    const isOvertaken = latest !== undefined && (senderLife < latest.life || (senderLife === latest.life && order < latest.order))
    if (!receiver.state || receiver.life !== receiverLife || isDeaf(world, receiver) || (isStatement && isOvertaken)) return
    if (isStatement) receiver.heardOf.set(from.index, { life: senderLife, order })
    world.feed(receiver, { kind: 'message', from: name, incarnation, message })
  })
}

export function askWitness(world: World, node: SimNode, request: WitnessRequest): void {
  const { life } = node
  const { network, witness, witnessSite } = world
  network.travel(node.index, witnessSite, request.kind, () => {
    if (!witness.isUp) return
    const before = witness.register
    const answer = answerRequest(witness, node.name, request)
    if (answer.kind === 'swapped') {
      noteRegister(world, before)
      world.strike('swapped', node)
    }
    const send = (): void =>
      network.travel(witnessSite, node.index, 'answer', () => {
        if (node.life === life && !isDeaf(world, node)) world.feed(node, { kind: 'witness', answer })
      })
    if (witness.isSlow) world.timeline.in(world.random.between(100, 2_500), send)
    else send()
  })
  world.timeline.in(world.options.timings.witnessReadMs, () => {
    if (node.life === life) world.feed(node, { kind: 'witness', answer: { kind: 'failed', id: request.id, reason: 'no answer' } })
  })
}
