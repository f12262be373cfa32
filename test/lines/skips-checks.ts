/** Lines about what is left alone in the failover of a whole room, and about Jobs and finalizers. */
import { expect } from 'vitest'
import type { Bed } from './bed.ts'
import type { Line } from './lines.ts'
import type { Room } from './sequence-checks.ts'
import { deadRoom, livingRoom } from './world.ts'

/** The pod is the one from before, was not touched by us, and a reason was told. */
async function expectLeftAlone({ uids, writes, events }: Room, bed: Bed, name: string, reason: RegExp): Promise<void> {
  const pod = await bed.api.get(`/api/v1/namespaces/${bed.namespace}/pods/${name}`)
  expect(pod.metadata.uid).toBe(uids.get(name))
  expect(pod.metadata.deletionTimestamp).toBeUndefined()
  expect(writes.filter(({ path, verb }) => verb === 'delete' && path.endsWith(`/pods/${name}`))).toEqual([])
  expect(events).toContainEqual(
    expect.objectContaining({ kind: 'skipped', workload: `${bed.namespace}/${name}`, reason: expect.stringMatching(reason) as string }),
  )
}

/** It tolerates the death of its node, and without a limit. */
async function expectImmune(bed: Bed, name: string): Promise<void> {
  const { spec } = await bed.api.get<{ spec: { tolerations: readonly { key?: string; tolerationSeconds?: number }[] } }>(
    `/api/v1/namespaces/${bed.namespace}/pods/${name}`,
  )
  for (const key of ['node.kubernetes.io/unreachable', 'node.kubernetes.io/not-ready'])
    expect(spec.tolerations.filter((toleration) => toleration.key === key)).toEqual([
      expect.not.objectContaining({ tolerationSeconds: expect.anything() as number }),
    ])
}

export const skipLines: readonly Line<Room>[] = [
  {
    id: 'skip-mirror-pods',
    part: 'skips/mirror',
    says: 'a mirror pod (of a static pod) is left alone, and why is told',
    check: async (played, bed) => expectLeftAlone(played, bed, 'mirror', /static pod/),
  },
  {
    id: 'skip-daemonset-pods',
    part: 'skips/daemonset',
    says: 'pods of DaemonSets stay with their nodes, and why is told',
    check: async (played, bed) => {
      const names = [...played.uids.keys()].filter((name) => name.startsWith('everywhere-'))
      const dead = names.filter((name) => {
        const { spec } = bed.log.historyOf(played.uids.get(name) ?? '').at(-1)?.object ?? {}
        return bed.roomOf((spec as { nodeName?: string } | undefined)?.nodeName) === deadRoom
      })
      expect(dead).toHaveLength(2)
      for (const name of dead) await expectLeftAlone(played, bed, name, /DaemonSet/)
    },
  },
  {
    id: 'skip-pods-that-tolerate-everything',
    part: 'skips/tolerates-everything',
    says: 'a pod that tolerates every taint is left alone, and why is told',
    check: async (played, bed) => expectLeftAlone(played, bed, 'stays', /tolerates every taint/),
  },
  {
    id: 'skip-pods-that-tolerate-our-taints',
    part: 'skips/tolerates-everything',
    says: 'a StatefulSet’s pod that tolerates our taints but not eviction is left alone, since its replacement could be placed there again, made immune and recorded as skipped',
    check: async (played, bed) => {
      await expectLeftAlone(played, bed, 'returning-0', /placed there again/)
      await expectImmune(bed, 'returning-0')
      expect(played.status.workloads.find(({ name }) => name === 'returning-0')).toMatchObject({ state: 'skipped' })
    },
  },
  {
    id: 'skip-opted-out-pods',
    part: 'skips/opted-out',
    says: 'an opted-out pod is left alone, made immune to Kubernetes’ own eviction, and recorded as skipped',
    check: async (played, bed) => {
      await expectLeftAlone(played, bed, 'opted-out', /opted out/)
      expect(played.status.workloads.find(({ name }) => name === 'opted-out')).toMatchObject({ state: 'skipped' })
      await expectImmune(bed, 'opted-out')
    },
  },
  {
    id: 'skip-opted-out-vms',
    part: 'skips/opted-out',
    says: 'an opted-out VM keeps its instance and its launcher pod, and is recorded as skipped',
    check: async (played, bed) => {
      const vmi = await bed.vmiRuns('left-alone', deadRoom)
      expect(vmi.metadata.uid).toBe(played.uids.get('left-alone'))
      const [launcher = ''] = [...played.uids.keys()].filter((name) => name.startsWith('virt-launcher-left-alone-'))
      await expectLeftAlone(played, bed, launcher, /opted out/)
      expect(played.status.workloads.find(({ name }) => name === 'left-alone')).toMatchObject({ state: 'skipped' })
    },
  },
  {
    id: 'jobs-fail-before-they-go',
    part: 'skips/jobs',
    says: 'a Job’s pod gets phase Failed and the condition DisruptionTarget before it is deleted, so that the Job makes another and counts it, unless its policy ignores disruptions',
    check: async ({ writes, uids }, bed) => {
      const [old = ''] = [...uids.keys()].filter((name) => name.startsWith('batch-'))
      const ours = writes.filter(({ path }) => path.includes(`/pods/${old}`))
      expect(ours.map(({ verb, path, outcome }) => [verb, path.endsWith('/status'), outcome])).toEqual([
        ['patch', true, 'ok'],
        ['delete', false, expect.stringMatching(/^(?:ok|not-found)$/)],
      ])
      expect(ours[0]?.body).toMatchObject({ metadata: { uid: uids.get(old) }, status: { phase: 'Failed', reason: 'NodeFenced' } })
      const states = bed.log.historyOf(uids.get(old) ?? '')
      expect(states.at(-1)).toMatchObject({ type: 'DELETED', object: { status: { phase: 'Failed' } } })
      const { conditions = [] } = (states.at(-1)?.object.status ?? {}) as { conditions?: readonly { readonly type: string }[] }
      expect(conditions).toContainEqual(expect.objectContaining({ type: 'DisruptionTarget', status: 'True' }))
      expect(conditions.map(({ type }) => type)).toContain('PodScheduled')
      const [replacement] = await bed.podsRun('batch', livingRoom)
      expect(replacement?.metadata.uid).not.toBe(uids.get(old))
      const failed = async (name: string): Promise<number> =>
        (await bed.api.get<{ status?: { failed?: number } }>(`/apis/batch/v1/namespaces/${bed.namespace}/jobs/${name}`)).status?.failed ?? 0
      expect(await failed('batch')).toBe(1)
      await bed.podsRun('spared', livingRoom)
      expect(await failed('spared')).toBe(0)
    },
  },
  {
    id: 'finalizers-of-others-stay',
    part: 'skips/finalizers',
    says: 'a finalizer of others is never taken off a pod: the pod is reported as stuck, with the finalizer’s name',
    check: async ({ writes, uids, status }, bed) => {
      const pod = await bed.api.get(`/api/v1/namespaces/${bed.namespace}/pods/kept`)
      expect(pod.metadata).toMatchObject({ uid: uids.get('kept'), finalizers: ['example.com/not-ours'] })
      expect(pod.metadata.deletionTimestamp).toBeDefined()
      expect(
        writes.filter(
          ({ body }) =>
            (body as { metadata?: object } | undefined)?.metadata !== undefined && 'finalizers' in (body as { metadata: object }).metadata,
        ),
      ).toEqual([])
      expect(status.stuck.filter((text) => text.includes('kept') && text.includes('example.com/not-ours'))).toHaveLength(1)
    },
  },
]
