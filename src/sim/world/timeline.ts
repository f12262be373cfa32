/** Virtual time: what is to happen, in order. Equal times keep the order in which they were planned, so a run is deterministic. */

export interface Timeline {
  readonly nowMs: number
  at(timeMs: number, act: () => void): void
  in(delayMs: number, act: () => void): void
  /** Runs everything up to and including `untilMs`. */
  runUntil(untilMs: number): void
}

type Mutable = { -readonly [Key in keyof Timeline]: Timeline[Key] }

interface Planned {
  readonly timeMs: number
  readonly order: number
  readonly act: () => void
}

const isBefore = (a: Planned, b: Planned): boolean => a.timeMs < b.timeMs || (a.timeMs === b.timeMs && a.order < b.order)

export function createTimeline(): Timeline {
  const heap: Planned[] = []
  let order = 0
  const push = (item: Planned): void => {
    let i = heap.length
    heap.push(item)
    while (i > 0) {
      const parent = (i - 1) >> 1
      const above = heap[parent]
      if (!above || !isBefore(item, above)) break
      heap[i] = above
      i = parent
    }
    heap[i] = item
  }
  const pop = (): Planned | undefined => {
    const top = heap[0]
    const last = heap.pop()
    if (!top || !last || heap.length === 0) return top
    let i = 0
    for (;;) {
      const left = heap[2 * i + 1]
      const right = heap[2 * i + 2]
      if (!left) break
      const isRight = right !== undefined && isBefore(right, left)
      const child = isRight && right ? right : left
      if (!isBefore(child, last)) break
      heap[i] = child
      i = 2 * i + (isRight ? 2 : 1)
    }
    heap[i] = last
    return top
  }
  const timeline: Mutable = {
    nowMs: 0,
    at: (timeMs, act) => push({ timeMs: Math.max(timeMs, timeline.nowMs), order: order++, act }),
    in: (delayMs, act) => push({ timeMs: timeline.nowMs + Math.max(0, delayMs), order: order++, act }),
    runUntil: (untilMs) => {
      for (;;) {
        const next = heap[0]
        if (!next || next.timeMs > untilMs) break
        pop()
        timeline.nowMs = next.timeMs
        next.act()
      }
      timeline.nowMs = untilMs
    },
  }
  return timeline
}
