/** The carrier's own promises, step by step, on the embedded API server. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ExecutorOptions, createExecutor } from '../../src/failover/run/execute.ts'
import { type Concurrency, createConcurrency } from '../../src/failover/run/concurrency.ts'
import type { StepOutcome } from '../../src/failover/run/outcome.ts'
import { exampleRecord } from '../support/failover-examples.ts'
import type { Step } from '../../src/failover/plan/steps.ts'
import { fencedTaint } from '../../src/failover/fence/taints.ts'
import { podView } from '../../src/kubernetes/resources.ts'
import { createFailoverBed, type FailoverBed, testClock, testConfig } from '../support/failover-bed.ts'

let bed: FailoverBed
let outcomes: StepOutcome[]
/** Keys of the steps that were done. */
let done: string[]
/** Of the carrier that was made last. */
let concurrency: Concurrency
beforeEach(async () => {
  bed = await createFailoverBed()
  // Nobody else writes what the steps are about: a kubelet that starts a pod in between makes another version of it.
  bed.cluster.stop()
  outcomes = []
  done = []
})
afterEach(async () => {
  await bed.close()
})

const options = (): ExecutorOptions => ({
  client: bed.client,
  config: { ...testConfig, apiCallMs: 2_000 },
  clock: testClock,
  epoch: 7,
  dryRun: false,
  signal: new AbortController().signal,
  onDone: ({ key }, outcome) => {
    outcomes.push(outcome)
    done.push(key)
  },
  onFailed: () => {},
})
const carrier = (more: Partial<ExecutorOptions> = {}) => {
  concurrency = createConcurrency(testConfig.maxConcurrency)
  return createExecutor({ ...options(), ...more }, concurrency)
}
const taint = (node: string): Step => ({ kind: 'taint', key: `taint ${node}`, node, taint: fencedTaint(7), why: '' })
const podOn = (name: string) =>
  podView(
    bed.store.create('pods', {
      metadata: { name, namespace: 'default' },
      spec: { nodeName: 'b1', containers: [{ name: 'c', image: 'x' }] },
    }),
  )
const clear = (pod: ReturnType<typeof podView>): Step => ({
  kind: 'delete-pod',
  key: `delete ${pod.uid}`,
  pod,
  proof: 'none',
  vm: undefined,
  why: '',
})

describe('the carrier', () => {
  test('asks a KubeVirt that does not answer three times a round, and keeps nothing else waiting or slow for it', async () => {
    const start = (name: string): Step => ({
      kind: 'vm',
      key: `start ${name}`,
      workload: exampleRecord(name, { namespace: 'default' }),
      action: { kind: 'start' },
      why: '',
    })
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l']
    let asked = 0
    bed.server.faults.set({
      isHanging: true,
      appliesTo: ({ path }) => {
        const isKubeVirt = path.includes('subresources.kubevirt.io')
        if (isKubeVirt) asked += 1
        return isKubeVirt
      },
    })
    const one = carrier()
    const before = concurrency.now()
    const round = await one.run([
      { name: 'virtual machines', barrier: false, steps: names.map(start) },
      { name: 'other pods', barrier: false, steps: [clear(podOn('web'))] },
    ])
    expect(bed.store.get('pods', 'default', 'web')).toBeUndefined()
    expect(round).toMatchObject({ isApiAway: false, retryAfterMs: undefined })
    expect(asked).toBeGreaterThanOrEqual(3)
    expect(asked).toBeLessThanOrEqual(before + 2)
    expect(concurrency.now()).toBeGreaterThanOrEqual(before)
  })

  test('clears in turns of a few seconds: the rest waits for the next plan, the next steps of VMs do not wait for the rest', async () => {
    let nowMs = 0
    // every look at the clock takes 200 ms, and a call two looks at least
    const slow = createExecutor({
      ...options(),
      clock: { ...testClock, nowMs: () => (nowMs += 200) },
      config: { ...testConfig, maxConcurrency: 1 },
    })
    const pods = Array.from({ length: 20 }, (_, index) => podOn(`web-${index}`))
    const left = (): number => pods.filter(({ name }) => bed.store.get('pods', 'default', name) !== undefined).length
    const wave = (name: string, ofPods: typeof pods) => ({
      name,
      barrier: false,
      steps: ofPods.filter((pod) => bed.store.get('pods', 'default', pod.name) !== undefined).map(clear),
    })
    const stages = () => [
      wave('VM wave 1', pods.slice(0, 10)),
      wave('VM wave 2', pods.slice(10)),
      { name: 'virtual machines', barrier: false, steps: [taint('b1')] },
    ]
    const first = await slow.run(stages())
    expect(first.isCut).toBe(true)
    expect(left()).toBeGreaterThan(10)
    expect(left()).toBeLessThan(20)
    expect(done).toContain('taint b1')
    let rounds = 1
    for (let round = first; round.isCut; rounds += 1) round = await slow.run(stages())
    expect(left()).toBe(0)
    expect(rounds).toBeGreaterThan(2)
  })

  test('clears for longer in a turn where it takes long to get from one turn to the next', async () => {
    let nowMs = 0
    const slow = createExecutor({
      ...options(),
      clock: { ...testClock, nowMs: () => (nowMs += 200) },
      config: { ...testConfig, maxConcurrency: 1 },
    })
    const pods = Array.from({ length: 30 }, (_, index) => podOn(`web-${index}`))
    const stages = () => [
      { name: 'pods', barrier: false, steps: pods.filter((pod) => bed.store.get('pods', 'default', pod.name) !== undefined).map(clear) },
    ]
    await slow.run(stages())
    const inFirst = done.length
    nowMs += 3_000
    const second = await slow.run(stages())
    expect(second.isCut).toBe(true)
    expect(done.length - inFirst).toBeGreaterThan(2 * inFirst)
  })

  test('has no fewer calls under way than at its start where the API server is merely slow', async () => {
    let nowMs = 0
    const slow = carrier({ clock: { ...testClock, nowMs: () => (nowMs += 1_500) } })
    const before = concurrency.now()
    await slow.run([{ name: 'taints', barrier: false, steps: ['b1', 'b2'].map(taint) }])
    expect(concurrency.now()).toBe(before)
  })

  test('goes not one step beyond a barrier that is not wholly done', async () => {
    const pod = podOn('web')
    bed.server.faults.set({ answer: { status: 500 }, appliesTo: ({ method, path }) => method === 'PATCH' && path.endsWith('/nodes/b2') })
    const stages = [
      { name: 'taints', barrier: true, steps: [taint('b1'), taint('b2')] },
      { name: 'pods', barrier: false, steps: [clear(pod)] },
    ]
    const round = await carrier().run(stages)
    expect(round.failed.map(({ step }) => step.key)).toEqual(['taint b2'])
    expect(bed.store.get('pods', 'default', 'web')).toBeDefined()
    bed.server.faults.set()
    await carrier().run(stages)
    expect(bed.store.get('pods', 'default', 'web')).toBeUndefined()
  })

  test('does nothing more when a node was un-fenced since: its taint is not there, whatever is planned behind it', async () => {
    const pod = podOn('web')
    const node = structuredClone(bed.store.get('nodes', undefined, 'b1'))
    if (node === undefined) throw new Error('no node')
    node.metadata.annotations = { ...node.metadata.annotations, 'roomfence.io/unfenced-epoch': '57' }
    bed.store.update('nodes', node)
    const one = carrier()
    const stages = (barrier: boolean) => [
      { name: 'taints', barrier, steps: [taint('b1'), taint('b2')] },
      { name: 'pods', barrier: false, steps: [{ ...clear(pod), needs: 'taint b1' }] },
    ]
    // At the second try just as at the first: it is no step that was just done.
    for (const barrier of [true, true, false]) await one.run(stages(barrier))
    expect(bed.store.get('pods', 'default', 'web')).toBeDefined()
    expect(bed.store.get('nodes', undefined, 'b1')?.['spec']).not.toMatchObject({ taints: [{ key: 'roomfence.io/fenced' }] })
    expect(bed.store.get('nodes', undefined, 'b2')?.['spec']).toMatchObject({ taints: [{ key: 'roomfence.io/fenced' }] })
  })

  test('leaves a replacement of the same name alone', async () => {
    const old = podOn('db-0')
    bed.store.remove('pods', 'default', 'db-0', { uid: old.uid, gracePeriodSeconds: 0 })
    const replacement = podOn('db-0')
    await carrier().run([{ name: 'pods', barrier: false, steps: [clear(old)] }])
    expect(outcomes).toEqual(['replaced'])
    expect(bed.store.get('pods', 'default', 'db-0')?.metadata).toMatchObject({ uid: replacement.uid })
    expect(bed.store.get('pods', 'default', 'db-0')?.metadata.deletionTimestamp).toBeUndefined()
  })

  test('takes a pod that is gone for cleared, and does not do again what it just did', async () => {
    const pod = podOn('web')
    const one = carrier()
    const stages = [{ name: 'pods', barrier: false, steps: [clear(pod)] }]
    await one.run(stages)
    await one.run(stages)
    expect(outcomes).toEqual(['done'])
    await carrier().run(stages)
    expect(outcomes).toEqual(['done', 'gone'])
  })

  test('makes a pod immune as soon as its newer version is seen, when somebody wrote it in between: its node waits for that', async () => {
    const seen = podOn('held')
    const tolerations = [{ operator: 'Exists' }]
    const stages = (pod: typeof seen) => [
      { name: 'immunity', barrier: false, steps: [{ kind: 'tolerate', key: `tolerate ${pod.uid}`, pod, tolerations, why: '' } as const] },
    ]
    const stored = structuredClone(bed.store.get('pods', 'default', 'held'))
    if (stored === undefined) throw new Error('no pod')
    const newer = podView(bed.store.update('pods', { ...stored, metadata: { ...stored.metadata, labels: { changed: 'yes' } } }))
    const one = carrier()
    await one.run(stages(seen))
    await one.run(stages(newer))
    expect(outcomes).toEqual(['replaced', 'done'])
    expect(bed.store.get('pods', 'default', 'held')?.['spec']).toMatchObject({ tolerations })
  })

  test('fails a Job pod as disrupted, as Kubernetes itself does, and keeps what else is said of it', async () => {
    const pod = podOn('batch')
    const stored = structuredClone(bed.store.get('pods', 'default', 'batch'))
    if (stored === undefined) throw new Error('no pod')
    const conditions = [{ type: 'Ready', status: 'False' }]
    bed.store.update('pods', { ...stored, status: { phase: 'Running', podIP: '10.0.0.1', conditions } }, 'status')
    const fail = (of: typeof pod): Step => ({ kind: 'fail-pod', key: `fail ${of.uid}`, pod: of, why: '' })
    await carrier().run([{ name: 'jobs', barrier: false, steps: [fail(pod)] }])
    expect(bed.store.get('pods', 'default', 'batch')?.['status']).toMatchObject({
      phase: 'Failed',
      reason: 'NodeFenced',
      podIP: '10.0.0.1',
      conditions: [...conditions, { type: 'DisruptionTarget', status: 'True', reason: 'DeletionByRoomfence' }],
    })
    await carrier().run([{ name: 'jobs', barrier: false, steps: [fail({ ...pod, uid: 'another' })] }])
    expect(outcomes).toEqual(['done', 'replaced'])
  })

  test('skips a step whose own condition failed, and goes on with the others', async () => {
    const held = podOn('held')
    const free = podOn('free')
    bed.server.faults.set({ answer: { status: 500 }, appliesTo: ({ method, path }) => method === 'PATCH' && path.endsWith('/nodes/b1') })
    await carrier().run([
      { name: 'out of service', barrier: false, steps: [taint('b1')] },
      { name: 'pods', barrier: false, steps: [{ ...clear(held), needs: 'taint b1' }, clear(free)] },
    ])
    expect(bed.store.get('pods', 'default', 'held')).toBeDefined()
    expect(bed.store.get('pods', 'default', 'free')).toBeUndefined()
  })

  test('adds its taint while others write the same list', async () => {
    let writes = 0
    bed.server.faults.set({
      latencyMs: 1,
      appliesTo: ({ method, path }) => {
        if (method === 'PATCH' && path.endsWith('/nodes/b1') && writes++ < 3) bed.taint('b1', 'NoSchedule', `other-${String(writes)}`)
        return false
      },
    })
    await carrier().run([{ name: 'taints', barrier: true, steps: [taint('b1')] }])
    const taints = (bed.store.get('nodes', undefined, 'b1')?.['spec'] as { taints?: { key: string }[] } | undefined)?.taints ?? []
    expect(taints.map(({ key }) => key)).toEqual(expect.arrayContaining(['other-1', 'other-2', 'other-3', 'roomfence.io/fenced']))
  })

  test('has fewer calls under way after a 429, and waits as long as it is told', async () => {
    const pods = Array.from({ length: 6 }, (_, index) => podOn(`p${String(index)}`))
    bed.server.faults.set({ answer: { status: 429, retryAfterSeconds: 2 }, appliesTo: ({ method }) => method === 'DELETE' })
    const one = carrier()
    const before = concurrency.now()
    const round = await one.run([{ name: 'pods', barrier: false, steps: pods.map(clear) }])
    expect(round.retryAfterMs).toBe(2_000)
    expect(concurrency.now()).toBeLessThan(before)
  })

  test('goes on with the others when several in a row get no answer while the API server is there, and tries those last the next time', async () => {
    const stuck = Array.from({ length: 12 }, (_, index) => podOn(`stuck-${String(index)}`))
    const free = podOn('free')
    const tried: string[] = []
    bed.server.faults.set({
      answer: { status: 500 },
      appliesTo: ({ method, path }) => {
        if (method === 'DELETE') tried.push(path)
        return method === 'DELETE' && path.includes('/stuck-')
      },
    })
    // On a busy machine the round must not be cut for its length.
    const one = createExecutor({ ...options(), clock: { ...testClock, nowMs: () => 0 } })
    const round = await one.run([{ name: 'pods', barrier: false, steps: [...stuck, free].map(clear) }])
    expect(round.isApiAway).toBe(false)
    expect(round.failed).toHaveLength(12)
    expect(outcomes).toEqual(['done'])
    tried.length = 0
    await one.run([{ name: 'pods', barrier: false, steps: [...stuck, podOn('late')].map(clear) }])
    expect(tried[0]).toMatch(/late$/)
  })

  test('gives pods of later stages their turn though those of an earlier one fail so slowly that every round is cut', async () => {
    let lateMs = 0
    bed.server.faults.set({
      answer: { status: 500 },
      appliesTo: ({ method, path }) => {
        const isStuck = method === 'DELETE' && path.includes('/stuck-')
        if (isStuck) lateMs += 1_000
        return isStuck
      },
    })
    const one = createExecutor({ ...options(), clock: { ...testClock, nowMs: () => testClock.nowMs() + lateMs } })
    const stuck = Array.from({ length: 20 }, (_, index) => clear(podOn(`stuck-${String(index)}`)))
    const stages = [
      { name: 'VM wave 1', barrier: false, steps: stuck },
      { name: 'other pods', barrier: false, steps: [clear(podOn('free'))] },
    ]
    let rounds = 0
    while (bed.store.get('pods', 'default', 'free') !== undefined && rounds < 30) {
      rounds += 1
      await one.run(stages)
    }
    expect(rounds).toBeLessThan(30)
    expect(rounds).toBeGreaterThan(1)
  })

  test('puts a taint that failed before what needs it, all the same', async () => {
    const pod = podOn('web')
    let refusals = 0
    const calls: string[] = []
    bed.server.faults.set({
      answer: { status: 500 },
      appliesTo: ({ method, path }) => {
        if (method === 'PATCH' || method === 'DELETE') calls.push(`${method} ${path}`)
        return method === 'PATCH' && path.endsWith('/nodes/b1') && ++refusals === 1
      },
    })
    const one = carrier()
    const stages = (steps: readonly Step[]) => [
      { name: 'out of service', barrier: false, steps: [taint('b1')] },
      { name: 'pods', barrier: false, steps: steps.map((step) => ({ ...step, needs: 'taint b1' })) },
    ]
    await one.run(stages([clear(pod)]))
    await one.run(stages([clear(podOn('late')), clear(pod)]))
    expect(calls.map((call) => call.replace(/ .*\//, ' '))).toEqual(['PATCH b1', 'PATCH b1', 'DELETE late', 'DELETE web'])
  })

  test('stops the round when the API server does not answer at all', async () => {
    const pods = Array.from({ length: 24 }, (_, index) => podOn(`p${String(index)}`))
    bed.server.faults.set({ answer: { status: 503 } })
    const round = await carrier().run([{ name: 'pods', barrier: false, steps: pods.map(clear) }])
    expect(round.isApiAway).toBe(true)
    expect(round.failed.length).toBeLessThan(24)
  })
})
