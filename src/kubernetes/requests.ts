/** What a pod asks of its node, and Kubernetes' quantities as numbers. Pure. */
import { listAt, textAt } from './reading.ts'

/**
 * As the scheduler counts them: the containers and side-cars together, or the largest init container with the side-cars started before it, and the
 * runtime class's overhead. Requests of the pod itself stand in for those of its containers.
 */
export function requestsOf(object: unknown): { readonly cpuMilli: number; readonly memoryBytes: number } {
  const amount = (name: 'cpu' | 'memory'): number => {
    const of = (one: unknown): number => quantity(textAt(one, 'resources', 'requests', name))
    let sideCars = 0
    let largest = 0
    for (const container of listAt(object, 'spec', 'initContainers')) {
      if (textAt(container, 'restartPolicy') === 'Always') sideCars += of(container)
      largest = Math.max(largest, sideCars + (textAt(container, 'restartPolicy') === 'Always' ? 0 : of(container)))
    }
    const running = listAt(object, 'spec', 'containers').reduce<number>((sum, container) => sum + of(container), sideCars)
    const whole = textAt(object, 'spec', 'resources', 'requests', name)
    return (whole === '' ? Math.max(running, largest) : quantity(whole)) + quantity(textAt(object, 'spec', 'overhead', name))
  }
  return { cpuMilli: Math.ceil(Math.round(1e6 * amount('cpu')) / 1_000), memoryBytes: amount('memory') }
}

const suffixes: { readonly [suffix: string]: number } = {
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
}

/** A Kubernetes quantity (`250m`, `2Gi`) as a number; 0 for what is none. */
export function quantity(text: string): number {
  const match = /^([0-9.]+(?:e[0-9]+)?)([a-zA-Z]*)$/.exec(text)
  const factor = suffixes[match?.[2] ?? '']
  return match === null || factor === undefined ? 0 : Number(match[1]) * factor
}
