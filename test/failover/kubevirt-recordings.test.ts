/** The views and the VM follow-up on recordings of the real KubeVirt controllers: room dead, taint, launcher pods force-deleted. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { defaultFailoverConfig, exampleRecord } from '../support/failover-examples.ts'
import { followVm, type VmFollowUp } from '../../src/failover/plan/vm.ts'
import {
  type PodView,
  podView,
  virtualMachineInstanceView,
  type VirtualMachineInstanceView,
  virtualMachineView,
  type VirtualMachineView,
} from '../../src/kubernetes/resources.ts'
import { findRecordings } from '../support/recordings.ts'

const recordings = findRecordings('kubevirt/fixtures')

interface Change {
  readonly t: number
  readonly type: string
  readonly kind: string
  readonly object: unknown
}

/**
 * Follows the recorded VM after each change from the moment its launcher was gone, and returns each state once.
 *
 * @param fencedAtS when the fence would have been recorded: what it was like then is known of before
 */
function followed(
  scenario: string,
  fencedAtS = 0,
): {
  readonly states: readonly string[]
  readonly actions: readonly string[]
  readonly launcher: PodView | undefined
} {
  const changes = readFileSync(join(recordings ?? '', `${scenario}.jsonl`), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Change)
  let vm: VirtualMachineView | undefined
  let vmi: VirtualMachineInstanceView | undefined
  let launcher: PodView | undefined
  let before: VirtualMachineInstanceView | undefined
  let clearedAtS: number | undefined
  const states: string[] = []
  const actions = new Set<string>()
  for (const { t, type, kind, object } of changes) {
    if (kind === 'VirtualMachine') vm = type === 'DELETED' ? undefined : virtualMachineView(object)
    if (kind === 'VirtualMachineInstance') vmi = type === 'DELETED' ? undefined : virtualMachineInstanceView(object)
    if (kind === 'Pod' && t < fencedAtS) {
      const pod = podView(object)
      // Not its migration's target, nor what attaches a hot-plugged volume.
      if (pod.owner?.uid === vmi?.uid && (vmi?.nodeName === '' || pod.nodeName === vmi?.nodeName)) launcher = pod
    }
    if (t < fencedAtS) before = vmi ?? before
    if (kind === 'Pod' && type === 'DELETED' && t > 0 && podView(object).uid === launcher?.uid) clearedAtS ??= t
    if (clearedAtS === undefined || before === undefined) continue
    const followUp: VmFollowUp = followVm(
      {
        record: exampleRecord(before.name, {
          namespace: before.namespace,
          uid: before.uid,
          node: before.nodeName,
          runStrategy: vm?.runStrategy ?? '',
          phaseBefore: before.isTerminating ? 'Terminating' : before.phase,
        }),
        vm,
        vmi,
        fencedNodes: new Set(['room-b-n1', 'room-b-n2', 'room-b-n3', 'room-b-n4']),
        clearedForMs: (t - clearedAtS) * 1_000,
      },
      { ...defaultFailoverConfig, onceVms: 'restart' },
    )
    if (states.at(-1) !== followUp.state) states.push(followUp.state)
    if (followUp.action !== undefined) actions.add(followUp.action.kind)
  }
  return { states, actions: [...actions], launcher }
}

describe.skipIf(recordings === undefined)('the recorded VM', () => {
  test.each([
    ['always', ['ordered', 'running'], []],
    ['rof', ['ordered', 'running'], []],
    ['manual', ['ordered'], ['start']],
    ['once', ['ordered'], ['delete-vmi']],
  ] as const)('of strategy %s goes through %j and needs %j', (name, states, actions) => {
    const seen = followed(`b_nosched.${name}`)
    expect(seen.states).toEqual(states)
    expect(seen.actions).toEqual(actions)
    expect(seen.launcher?.owner?.kind).toBe('VirtualMachineInstance')
    expect(seen.launcher?.volumes.some((volume) => volume.kind === 'claim')).toBe(true)
  })

  test.each([
    // Its migration had a target in the other room: running, running, pending.
    ['i_migration.src1', ['ordered', 'running'], []],
    ['i_migration.src2', ['ordered', 'running'], []],
    ['i_migration.src3', ['ordered', 'running'], []],
    // Attachment pod deleted before, with, after its launcher.
    ['i_hotplug.hota', ['ordered', 'running'], []],
    ['i_hotplug.hotb', ['ordered', 'running'], []],
    ['i_hotplug.hotc', ['ordered', 'running'], []],
    // Scheduled when the room died: the recording's guest never boots.
    ['j_backoff.boot', ['ordered'], ['skip-backoff']],
    ['j_backoff.bootman', ['ordered'], ['start']],
    // The only virt-api was away for a minute; virt-controller's leader was killed, a standby took over.
    ['m2_noapi.always', ['ordered', 'running'], []],
    ['h1_standby.always', ['ordered', 'running'], []],
  ] as const)('%s is followed to its end through %j and needs %j', (name, states, actions) => {
    const seen = followed(name)
    expect(seen.states).toEqual(states)
    expect(seen.actions).toEqual(actions)
  })

  test.each(['d_vmidelete.rof', 'd_vmidelete.manual'])('%s, whose instance was deleted before, is not started by us', (name) => {
    const seen = followed(name, 39)
    expect(seen.actions).toEqual([])
    expect(seen.states[0]).toBe('ordered')
  })

  test('e_restart.manual, which was to be restarted, comes back by the start that is queued', () => {
    const seen = followed('e_restart.manual', 39)
    expect(seen.actions).toEqual([])
    expect(seen.states).toEqual(['ordered', 'running'])
  })
})
