import { describe, expect, test } from 'vitest'
import { exampleInput, exampleLauncher, exampleVolume } from '../../../test/support/failover-examples.ts'
import type { VolumeAttachmentView } from '../../kubernetes/resources.ts'
import { fencedTaint, outOfServiceTaint } from '../fence/taints.ts'
import type { PlanInput } from './plan-input.ts'
import { planFailover } from './plan.ts'

const attachmentOf = (persistentVolume: string, more: Partial<VolumeAttachmentView> = {}): VolumeAttachmentView => ({
  uid: `va-${persistentVolume}`,
  name: `va-${persistentVolume}`,
  resourceVersion: '1',
  attacher: 'linstor',
  nodeName: 'b1',
  persistentVolume,
  isTerminating: true,
  finalizers: ['external-attacher/linstor'],
  ...more,
})

const volumesOf = (...claims: readonly (readonly [claim: string, accessMode: string])[]) =>
  new Map(claims.map(([claim, accessMode]) => [`pv-${claim}`, exampleVolume(claim, { accessModes: [accessMode] })]))

/** With both nodes out of service, or neither. */
const inputOf = (snapshot: Partial<PlanInput['snapshot']>, isOutOfService = true): PlanInput => {
  const input = exampleInput({ snapshot })
  const taints = [fencedTaint(7), ...(isOutOfService ? [outOfServiceTaint] : [])]
  return {
    ...input,
    snapshot: { ...input.snapshot, nodes: new Map([...input.snapshot.nodes].map(([key, node]) => [key, { ...node, taints }])) },
  }
}
const aged = (input: PlanInput, subject: string): PlanInput => ({
  ...input,
  nowMs: input.config.volumeAttachmentDeadlineMs,
  sinceMs: new Map([[subject, 0]]),
})

describe('a VolumeAttachment of a fenced node', () => {
  const input = inputOf({ volumeAttachments: [attachmentOf('pv-disk')], volumes: volumesOf(['disk', 'ReadWriteOnce']) })

  test('keeps the fence acting until it is gone, and waiting once it is past its deadline', () => {
    expect(planFailover(aged(input, 'settled')).status).toMatchObject({ phase: 'Acting', stuck: [], counts: { volumeAttachments: 1 } })
    expect(planFailover(aged(input, 'attachment va-pv-disk')).status).toMatchObject({
      phase: 'Waiting',
      volumeAttachments: [{ name: 'va-pv-disk', node: 'b1', claim: 'apps/disk', isLate: true }],
    })
    const gone = inputOf({ volumeAttachments: [] })
    expect(planFailover(aged(gone, 'settled')).status).toMatchObject({ phase: 'Finished', volumeAttachments: [] })
  })

  test('is told of past its deadline, with the finalizers that keep it', () => {
    expect(planFailover(aged(input, 'attachment va-pv-disk')).status.stuck).toEqual([
      'VolumeAttachment va-pv-disk on b1: linstor has not detached pv-disk (finalizers: external-attacher/linstor); ReadWriteOnce: no other node can attach the volume until it is gone',
    ])
  })

  test.each([
    ['ReadWriteOnce', true],
    ['ReadWriteOncePod', true],
    ['ReadWriteMany', false],
  ])('of a %s volume keeps its new pod from starting: %s', (accessMode, blocks) => {
    const some = inputOf({ volumeAttachments: [attachmentOf('pv-disk')], volumes: volumesOf(['disk', accessMode]) })
    expect(planFailover(some).status.volumeAttachments).toMatchObject([{ accessModes: [accessMode], blocks }])
  })

  test('of an unknown volume is taken for one that only one node may have', () => {
    expect(planFailover(inputOf({ volumeAttachments: [attachmentOf('pv-lost')] })).status.volumeAttachments).toMatchObject([
      { claim: '', accessModes: [], blocks: true },
    ])
  })

  test('has time only from when its node is out of service: nobody detaches before', () => {
    const held = { ...inputOf({ volumeAttachments: [attachmentOf('pv-lost')] }, false), proofs: exampleInput().proofs }
    const plan = planFailover(aged(held, 'attachment va-pv-lost'))
    expect(plan.status.stuck).toEqual([])
    expect(plan.status.volumeAttachments).toMatchObject([
      { isLate: false, reason: expect.stringContaining('not out of service') as string },
    ])
  })

  test('is left out where its pod is to stay', () => {
    const volumes = volumesOf(['one', 'ReadWriteOnce'])
    const held = inputOf({ pods: [exampleLauncher('one')], volumes, volumeAttachments: [attachmentOf('pv-one')] })
    const plan = planFailover({ ...held, dataGate: () => ({ open: false, reason: 'stale' }) })
    expect(plan.status.volumeAttachments).toEqual([])
  })
})
