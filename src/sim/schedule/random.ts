/** The simulator's randomness: sfc32, seeded, so that a seed replays exactly. */

export interface Random {
  /** 0 <= x < 1 */
  next(): number
  between(low: number, high: number): number
  /** An integer, low <= x <= high. */
  integer(low: number, high: number): number
  chance(probability: number): boolean
  pick<T>(items: readonly T[]): T
}

export function randomFrom(seed: number): Random {
  let a = seed >>> 0
  let b = Math.imul(seed, 0x9e3779b1) >>> 0
  let c = 0x2545f491
  let d = 1
  const next = (): number => {
    const t = (((a + b) | 0) + d) | 0
    d = (d + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (c << 21) | (c >>> 11)
    c = (c + t) | 0
    return (t >>> 0) / 4294967296
  }
  for (let i = 0; i < 15; i++) next()
  return {
    next,
    between: (low, high) => low + next() * (high - low),
    integer: (low, high) => low + Math.floor(next() * (high - low + 1)),
    chance: (probability) => next() < probability,
    pick: (items) => {
      const item = items[Math.floor(next() * items.length)]
      if (item === undefined) throw new Error('nothing to pick from')
      return item
    },
  }
}

/** The rate of a clock: as often at the edge of what is allowed as somewhere between. */
export const rateOf = (random: Random, error: number): number => 1 + Math.max(-1, Math.min(1, random.between(-2, 2))) * error
