/** The demo's network: every heartbeat, witness, API and replication byte between two sites passes a forwarder whose faults can be changed at run time. */
import { createFaultTable, type Direction, type Endpoint, type Faults } from './faults.ts'
import { startTcpForwarder, type StreamTarget } from './tcp.ts'
import { type Address, type Dice, type Forwarder, startUdpForwarder } from './udp.ts'

export type { Address } from './udp.ts'

/** A site's name (a room, `witness`, `api`), or a site and the node in it. */
export type Place = string | Endpoint

export interface Network {
  /** The address at which `from` reaches `target`, which stands at `to`. One way only: answers need a forwarder of their own. */
  udp(link: { from: Place; to: Place; target: Address }): Promise<Address>
  /** The address at which `from` reaches the stream server `target`, which stands at `to`; answers come back over the same connection. */
  tcp(link: { from: Place; to: Place; target: StreamTarget }): Promise<Address>
  /** Cuts the link between two names, each a site or a node; `forward` only from the first to the second; with `path` only there. */
  cut(from: string, to: string, options?: { direction?: Direction; path?: string }): void
  /** Takes back every fault between two names, in both directions. */
  heal(from: string, to: string): void
  setLoss(from: string, to: string, lossPercent: number, options?: { direction?: Direction }): void
  setFaults(from: string, to: string, faults: Partial<Faults>, options?: { direction?: Direction; path?: string }): void
  /** Silences a node or a whole site: what it sends is lost and nothing arrives. Open connections stall, as with a cut cable. */
  isolate(name: string): void
  restore(name: string): void
  /** Takes back every cut and fault; what is isolated stays so. */
  healAll(): void
  /** Whether traffic passes both ways now. */
  reaches(from: Place, to: Place): boolean
  close(): Promise<void>
}

const endpoint = (place: Place): Endpoint => (typeof place === 'string' ? { site: place } : place)

/** An empty network; `dice` decides about loss and doubling. */
export function createNetwork(dice?: Dice): Network {
  const table = createFaultTable()
  const forwarders: Forwarder[] = []
  return {
    async udp({ from, to, target }) {
      const [near, far] = [endpoint(from), endpoint(to)]
      const forwarder = await startUdpForwarder(target, () => table.between(near, far), dice)
      forwarders.push(forwarder)
      return forwarder.address
    },
    async tcp({ from, to, target }) {
      const [near, far] = [endpoint(from), endpoint(to)]
      const forwarder = await startTcpForwarder(
        target,
        () => table.between(near, far),
        () => table.between(far, near),
        dice,
      )
      table.onChange(() => forwarder.review())
      forwarders.push(forwarder)
      return forwarder.address
    },
    cut: (from, to, options) => table.set(from, to, { cut: true }, options?.direction, options?.path),
    heal: (from, to) => table.clear(from, to),
    setLoss: (from, to, lossPercent, options) => table.set(from, to, { lossPercent }, options?.direction),
    setFaults: (from, to, faults, options) => table.set(from, to, faults, options?.direction, options?.path),
    isolate: (name) => table.isolate(name),
    restore: (name) => table.restore(name),
    healAll: () => table.clearAll(),
    reaches: (from, to) => !table.between(endpoint(from), endpoint(to)).cut && !table.between(endpoint(to), endpoint(from)).cut,
    async close() {
      await Promise.all(forwarders.map((forwarder) => forwarder.close()))
    },
  }
}
