/** Which volume a claim has: the proof and the data gate are asked about that one (docs/failover.md, "Data gate"). */
import { describe, expect, test } from 'vitest'
import { exampleInput, exampleLauncher, examplePod } from '../../../test/support/failover-examples.ts'
import { persistentVolumeView, type VolumeAttachmentView } from '../../kubernetes/resources.ts'
import type { ProofAnswer } from '../fence/proofs.ts'
import type { PlanInput } from './plan-input.ts'
import { planFailover } from './plan.ts'

const volume = (name: string, phase: string) =>
  persistentVolumeView({
    metadata: { name, uid: name, resourceVersion: '1' },
    spec: {
      accessModes: ['ReadWriteOnce'],
      claimRef: { namespace: 'apps', name: 'one' },
      csi: { driver: 'linstor.csi.linbit.com', volumeHandle: `drbd-${name}` },
    },
    status: { phase },
  })

const attachmentOf = (persistentVolume: string): VolumeAttachmentView => ({
  uid: `va-${persistentVolume}`,
  name: `va-${persistentVolume}`,
  resourceVersion: '1',
  attacher: 'linstor',
  nodeName: 'b1',
  persistentVolume,
  isTerminating: false,
  finalizers: [],
})

const never: ProofAnswer = { isProved: false, reason: 'no watchdog' }

/** A plan of one VM whose claim is named by all these volumes, and what was asked for it. */
function planWith(volumes: readonly ReturnType<typeof volume>[], snapshot: Partial<PlanInput['snapshot']> = {}, node: ProofAnswer = never) {
  const proofs: string[] = []
  const gate: string[] = []
  const plan = planFailover(
    exampleInput({
      vms: ['one'],
      snapshot: { pods: [exampleLauncher('one')], volumes: new Map(volumes.map((one) => [one.name, one])), ...snapshot },
      proofs: {
        node: () => node,
        workload: (_node, resources) => {
          proofs.push(...resources)
          return { isProved: true, proof: { kind: 'storage' } }
        },
      },
      dataGate: (asked) => {
        gate.push(...asked.map(({ handle }) => handle))
        return asked.some(({ handle }) => handle === 'drbd-pv-2') ? { open: false, reason: 'Outdated on every survivor' } : { open: true }
      },
    }),
  )
  return { plan, proofs, gate }
}

describe('a claim that was made again under its name', () => {
  const now = volume('pv-2', 'Bound')

  test.each([
    ['Released', 'pv-3'],
    ['Released', 'pv-1'],
    ['Available', 'pv-3'],
  ])('is asked about by the volume that it has now, not by one that is %s and names it, too (%s)', (phase, name) => {
    for (const volumes of [
      [now, volume(name, phase)],
      [volume(name, phase), now],
    ]) {
      const { plan, proofs, gate } = planWith(volumes)
      expect([proofs, gate]).toEqual([['drbd-pv-2'], ['drbd-pv-2']])
      expect(plan.status.workloads).toMatchObject([{ name: 'one', state: 'held', reason: 'Outdated on every survivor' }])
    }
  })

  test('is asked about by both while the volume of the one before is not marked as released yet', () => {
    const { proofs, gate } = planWith([now, volume('pv-3', 'Bound')])
    expect([proofs, gate]).toEqual([
      ['drbd-pv-2', 'drbd-pv-3'],
      ['drbd-pv-2', 'drbd-pv-3'],
    ])
  })

  test('needs the proof of its node while no volume is bound to it, and is held then: of which data would it start?', () => {
    const released = [volume('pv-3', 'Released')]
    expect(planWith(released).plan.status.workloads).toMatchObject([
      { state: 'waiting', reason: expect.stringContaining('no volume is known for claim one') as string },
    ])
    const { plan, gate } = planWith(released, {}, { isProved: true, proof: { kind: 'killed' } })
    expect(plan.status.workloads).toMatchObject([
      { state: 'held', reason: expect.stringContaining('no volume is bound to claim one') as string },
    ])
    expect(gate).toEqual([])
  })
})

describe('an ended pod whose claim is gone', () => {
  const plan = (kind: string, phase: string) =>
    planFailover(
      exampleInput({
        snapshot: {
          pods: [
            examplePod('old', {
              phase,
              owner: { kind, name: 'o', uid: 'o' },
              volumes: [{ kind: 'claim', claim: 'gone', readOnly: false }],
            }),
          ],
        },
      }),
    ).status.workloads[0]?.state

  test('is cleared when nothing is started in its place: claims of ended pods are not protected', () => {
    for (const kind of ['Job', 'ReplicaSet'])
      expect([plan(kind, 'Succeeded'), plan(kind, 'Failed'), plan(kind, 'Running')]).toEqual(['ordered', 'ordered', 'held'])
    expect([plan('StatefulSet', 'Failed'), plan('VirtualMachineInstance', 'Failed')]).toEqual(['held', 'held'])
  })
})

describe('the attachment of a released volume', () => {
  test('is known by its DRBD resource, keeps nothing for the claim that it no longer has, and is listed without it', () => {
    const { plan, proofs } = planWith([volume('pv-2', 'Bound'), volume('pv-3', 'Released')], {
      volumeAttachments: [attachmentOf('pv-2'), attachmentOf('pv-3')],
    })
    expect(proofs).toContain('drbd-pv-3')
    expect(plan.status.nodes.find(({ name }) => name === 'b1')?.waitingFor).not.toMatch(/attached/)
    expect(plan.status.volumeAttachments).toMatchObject([
      { persistentVolume: 'pv-3', claim: '', accessModes: ['ReadWriteOnce'], blocks: true },
    ])
  })
})
