/** Tells the adversary of the protocol's moments that an effect stands for. */
import type { Effect } from '../../protocol/state.ts'
import type { SimNode, World } from '../world/world.ts'

export function announce(world: World, node: SimNode, effect: Effect): void {
  if (effect.kind === 'persist') world.strike('persist', node)
  else if (effect.kind === 'learned') {
    const { epoch } = effect.membership
    if (epoch > world.observer.announcedEpoch) {
      world.observer.announcedEpoch = epoch
      const { life } = node
      world.strike('decided', node)
      if (node.life !== life) return
    }
    world.strike('learned', node)
  } else if (effect.kind === 'send') {
    const { kind } = effect.message
    if (kind === 'promise' || kind === 'accept' || kind === 'accepted') world.strike(kind, node)
  } else if (effect.kind === 'witness') {
    if (effect.request.kind === 'swap') world.strike('swap', node)
  } else if (effect.kind === 'contain')
    world.strike(effect.level === 'pause' ? 'pausing' : effect.level === 'kill' ? 'killing' : 'thawing', node)
  else if (effect.kind === 'note') {
    const { code } = effect
    if (code === 'proposing' || code === 'finishing' || code === 'permit-lost') world.strike(code, node)
    else if (code === 'fence-chosen') world.strike('chosen', node)
  }
}
