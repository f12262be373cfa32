/** The views and the VM follow-up on recordings of the real KubeVirt controllers: room dead, taint, launcher pods force-deleted. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { exampleRecord } from '../../src/failover/examples.ts'
import { defaultFailoverConfig } from '../../src/failover/order.ts'
import { followVm, type VmFollowUp } from '../../src/failover/vm.ts'
import {
  type PodView,
  podView,
  virtualMachineInstanceView,
  type VirtualMachineInstanceView,
  virtualMachineView,
  type VirtualMachineView,
} from '../../src/kubernetes/resources.ts'
import { findRecordings } from '../recordings.ts'

const recordings = findRecordings('kubevirt/fixtures')

interface Change {
  readonly t: number
  readonly type: string
  readonly kind: string
  readonly object: unknown
}

/** Follows the recorded VM after each change from the moment its pod was gone, and returns each state once. */
function followed(scenario: string): {
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
    if (kind === 'Pod' && t < 0) launcher = podView(object)
    if (t < 0) before = vmi ?? before
    if (kind === 'Pod' && type === 'DELETED' && t > 0 && podView(object).uid === launcher?.uid) clearedAtS ??= t
    if (clearedAtS === undefined || before === undefined) continue
    const followUp: VmFollowUp = followVm(
      {
        record: exampleRecord(before.name, {
          namespace: before.namespace,
          uid: before.uid,
          node: before.nodeName,
          runStrategy: vm?.runStrategy ?? '',
          phaseBefore: before.phase,
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
})
