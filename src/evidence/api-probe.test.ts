import { afterEach, describe, expect, test, vi } from 'vitest'
import { type ApiProbe, type ApiReachability, afterProbe, notProbed, startApiProbe } from './api-probe.ts'

const running: ApiProbe[] = []
afterEach(() => {
  for (const one of running.splice(0)) one.stop()
})

describe('the API server’s reachability', () => {
  test('is unknown before the first probe', () => {
    expect(notProbed(5)).toEqual({ isReachable: undefined, sinceMs: 5, count: 0, failure: '' })
  })

  test('counts outcomes in a row and remembers since when', () => {
    const outcomes: readonly [string | undefined, number][] = [
      [undefined, 10],
      [undefined, 20],
      ['refused', 30],
      ['timeout', 40],
    ]
    const last = outcomes.reduce((before, [failure, nowMs]) => afterProbe(before, failure, nowMs), notProbed(0))
    expect(last).toEqual({ isReachable: false, sinceMs: 30, count: 2, failure: 'timeout' })
    expect(afterProbe(last, undefined, 50)).toEqual({ isReachable: true, sinceMs: 50, count: 1, failure: '' })
  })

  test('is told when it changes, and a probe that never answers counts as a failure', async () => {
    let answer: () => Promise<void> = () => Promise.resolve()
    const changes: (boolean | undefined)[] = []
    const onChange = ({ isReachable }: ApiReachability) => changes.push(isReachable)
    const probe = startApiProbe({ probe: () => answer(), everyMs: 5, timeoutMs: 50, clock: () => performance.now(), onChange })
    running.push(probe)
    await vi.waitFor(() => expect(changes).toEqual([true]), { timeout: 20_000 })
    answer = () => new Promise(() => undefined)
    await vi.waitFor(() => expect(changes).toEqual([true, false]), { timeout: 20_000 })
    expect(probe.current().failure).toBe('no answer within 50 ms')
    answer = () => Promise.resolve()
    await vi.waitFor(() => expect(changes).toEqual([true, false, true]), { timeout: 20_000 })
  })

  test('is not asked for again after it was stopped', async () => {
    let calls = 0
    const probe = startApiProbe({
      probe: () => {
        calls += 1
        return Promise.resolve()
      },
      everyMs: 1,
      timeoutMs: 1000,
      clock: () => performance.now(),
    })
    running.push(probe)
    await vi.waitFor(() => expect(calls).toBeGreaterThan(2), { timeout: 20_000 })
    probe.stop()
    const before = calls
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(calls).toBe(before)
  })
})
