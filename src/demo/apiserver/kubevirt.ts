/**
 * KubeVirt's own calls `virtualmachines/NAME/{start,stop,restart}` and its webhooks' rules, as virt-api v1.9.0 answered them on a
 * real control plane (the recordings' follow-up calls).
 */
import { isJsonObject } from './freeze.ts'
import { StoreError } from './status.ts'
import type { KubeObject, Store } from './store.ts'

const record = (value: unknown): Record<string, unknown> => (isJsonObject(value) ? value : {})

const refused = (name: string, why: string): StoreError =>
  new StoreError(409, 'Conflict', `Operation cannot be fulfilled on virtualmachine.kubevirt.io "${name}": ${why}`, {
    name,
    group: 'kubevirt.io',
    kind: 'virtualmachine',
  })
const underway = (): StoreError =>
  new StoreError(500, 'InternalError', 'Internal error occurred: unable to complete request: stop/start already underway', {
    causes: [{ message: 'unable to complete request: stop/start already underway' }],
  })

export type VirtualMachineCall = 'start' | 'stop' | 'restart'

interface Request {
  readonly action: 'Start' | 'Stop'
  readonly uid?: string
}

/** @param body the options, already parsed; unknown fields are ignored as virt-api does */
export function callVirtualMachine(store: Store, call: VirtualMachineCall, namespace: string, name: string, body: unknown): void {
  const machine = store.get('virtualmachines', namespace, name)
  const resource = store.resource('virtualmachines')
  if (machine === undefined || resource === undefined) {
    throw new StoreError(404, 'NotFound', `virtualmachine.kubevirt.io "${name}" not found`, {
      name,
      group: 'kubevirt.io',
      kind: 'virtualmachine',
    })
  }
  const { gracePeriodSeconds, dryRun } = record(body)
  const isDryRun = Array.isArray(dryRun) && dryRun.length > 0
  if (isDryRun && !dryRun.every((item) => item === 'All'))
    throw new StoreError(500, 'InternalError', 'Internal error occurred: invalid dryRun')
  const instance = store.get('virtualmachineinstances', namespace, name)
  const phase = record(instance?.['status'])['phase']
  const isFinal = phase === 'Succeeded' || phase === 'Failed'
  const strategy = strategyOf(machine)
  const request = (...requests: readonly Request[]): void => {
    const status = record(machine['status'])
    if (Array.isArray(status['stateChangeRequests']) && status['stateChangeRequests'].length > 0) throw underway()
    store.update('virtualmachines', { ...machine, status: { ...status, stateChangeRequests: requests } }, 'status', { isDryRun })
  }
  const setStrategy = (runStrategy: string): void => {
    const { running: _running, ...spec } = record(machine['spec'])
    store.update('virtualmachines', { ...machine, spec: { ...spec, runStrategy } }, undefined, { isDryRun })
  }
  const stopOf = (running: KubeObject): Request => ({ action: 'Stop', uid: running.metadata.uid })

  switch (call) {
    case 'start':
      if (instance !== undefined && !isFinal) throw refused(name, 'VM is already running')
      if (strategy === 'Halted') return setStrategy('Always')
      if (strategy === 'Always' || strategy === 'Once') throw refused(name, `${strategy} does not support manual start requests`)
      if (strategy === 'RerunOnFailure' && phase === 'Failed')
        throw refused(name, 'RerunOnFailure does not support starting VM from failed state')
      return request(...(instance === undefined ? [] : [stopOf(instance)]), { action: 'Start' })
    case 'restart':
      if (typeof gracePeriodSeconds === 'number' && gracePeriodSeconds !== 0) {
        throw new StoreError(400, 'BadRequest', 'For force restart, only gracePeriod=0 is supported for now')
      }
      if (strategy === 'Halted' || strategy === 'Once')
        throw refused(name, `RunStategy ${strategy} does not support manual restart requests`)
      if (instance === undefined) throw refused(name, 'VM is not running: Halted')
      return request(stopOf(instance), { action: 'Start' })
    case 'stop':
      if (strategy === 'Halted' || instance === undefined || isFinal) throw refused(name, 'VM is not running')
      return strategy === 'Always' ? setStrategy('Halted') : request(stopOf(instance))
  }
}

function strategyOf(machine: KubeObject): string {
  const { runStrategy, running } = record(machine['spec'])
  if (typeof runStrategy === 'string') return runStrategy
  return running === true ? 'Always' : 'Halted'
}

/** KubeVirt's mutating webhook: others than its own controllers cannot write an instance's status; the write is dropped in silence. */
export const withoutForeignStatus = (next: KubeObject, previous: KubeObject): KubeObject => {
  const { status: _status, ...rest } = next
  return { ...rest, ...(previous['status'] === undefined ? {} : { status: previous['status'] }) }
}

/** KubeVirt's validating webhook: an instance's spec is its controllers' alone. */
export function checkInstanceUpdate(next: KubeObject, previous: KubeObject, isSame: (a: unknown, b: unknown) => boolean): void {
  if (isSame(next['spec'], previous['spec'])) return
  throw new StoreError(
    422,
    'Invalid',
    'admission webhook "virtualmachineinstances-update-validator.kubevirt.io" denied the request: update of VMI object is restricted',
    { causes: [{ reason: 'FieldValueNotSupported', message: 'update of VMI object is restricted' }] },
  )
}

/** KubeVirt's eviction webhook: a launcher pod is never evicted, its machine is asked to migrate instead. */
export function refuseLauncherEviction(pod: KubeObject): void {
  if (pod.metadata.labels?.['kubevirt.io'] !== 'virt-launcher') return
  const machine = pod.metadata.labels['vm.kubevirt.io/name'] ?? pod.metadata.name
  throw new StoreError(
    429,
    'TooManyRequests',
    `admission webhook "virt-launcher-eviction-interceptor.kubevirt.io" denied the request: Eviction triggered evacuation of VMI "${pod.metadata.namespace}/${machine}"`,
  )
}
