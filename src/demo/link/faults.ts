/** What a link between two endpoints does to traffic now: the rules of the demo's faulty network, without sockets. */

/** One end of a link: the site it stands in (a room, `witness`, `api`) and, where it belongs to one, the node. Names are free. */
export interface Endpoint {
  readonly site: string
  readonly node?: string
  /** Which of several networks between the two, where traffic keeps to one. */
  readonly path?: string
}

/** Faults of one direction. Percentages run from 0 to 100, times are milliseconds. */
export interface Faults {
  readonly cut: boolean
  readonly lossPercent: number
  readonly delayMs: number
  /** Up to this much is added to the delay, evenly spread: datagrams may overtake each other. */
  readonly jitterMs: number
  readonly duplicatePercent: number
}

const noFaults: Faults = { cut: false, lossPercent: 0, delayMs: 0, jitterMs: 0, duplicatePercent: 0 }

interface Rule {
  readonly from: string
  readonly to: string
  readonly path: string | undefined
  readonly faults: Partial<Faults>
}

/** `both` directions, or only from the first name to the second (`forward`). */
export type Direction = 'both' | 'forward'

export interface FaultTable {
  /** What traffic from one endpoint to the other meets now; several rules that match are combined to the worse of each. */
  between(from: Endpoint, to: Endpoint): Faults
  /**
   * Sets faults between two names, on one path or, without `path`, on all; a name is a site or a node. They replace what was set for exactly
   * these names, path and direction.
   */
  set(from: string, to: string, faults: Partial<Faults>, direction?: Direction, path?: string): void
  /** Takes back what was set between two names, on all paths and in both directions. */
  clear(from: string, to: string): void
  /** A name that neither sends nor receives: a node without power, a room without a network. */
  isolate(name: string): void
  restore(name: string): void
  /** Takes back every fault between names; what is isolated (a node without power) stays so until it is restored. */
  clearAll(): void
  onChange(listener: () => void): () => void
}

const matches = (endpoint: Endpoint, name: string): boolean => endpoint.site === name || endpoint.node === name

const worse = (first: Faults, second: Partial<Faults>): Faults => ({
  cut: first.cut || (second.cut ?? false),
  lossPercent: Math.max(first.lossPercent, second.lossPercent ?? 0),
  delayMs: Math.max(first.delayMs, second.delayMs ?? 0),
  jitterMs: Math.max(first.jitterMs, second.jitterMs ?? 0),
  duplicatePercent: Math.max(first.duplicatePercent, second.duplicatePercent ?? 0),
})

/** A table of faults that can be changed while traffic flows. */
export function createFaultTable(): FaultTable {
  const rules = new Map<string, Rule>()
  const isolated = new Set<string>()
  const listeners = new Set<() => void>()
  const changed = (): void => {
    for (const listener of listeners) listener()
  }
  const put = (from: string, to: string, faults: Partial<Faults>, path: string | undefined): void => {
    rules.set(`${from}>${to} ${path ?? ''}`, { from, to, path, faults })
  }
  return {
    between(from, to) {
      for (const name of isolated) {
        // A node reaches itself and its own processes even without a network.
        if (matches(from, name) !== matches(to, name)) return { ...noFaults, cut: true }
        if (matches(from, name) && from.node !== undefined && from.node !== to.node) return { ...noFaults, cut: true }
      }
      let faults = noFaults
      for (const rule of rules.values()) {
        const isOnPath = rule.path === undefined || (rule.path === from.path && rule.path === to.path)
        if (isOnPath && matches(from, rule.from) && matches(to, rule.to)) faults = worse(faults, rule.faults)
      }
      return faults
    },
    set(from, to, faults, direction = 'both', path) {
      put(from, to, faults, path)
      if (direction === 'both') put(to, from, faults, path)
      changed()
    },
    clear(from, to) {
      for (const [key, rule] of rules)
        if ((rule.from === from && rule.to === to) || (rule.from === to && rule.to === from)) rules.delete(key)
      changed()
    },
    isolate(name) {
      isolated.add(name)
      changed()
    },
    restore(name) {
      isolated.delete(name)
      changed()
    },
    clearAll() {
      rules.clear()
      changed()
    },
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
