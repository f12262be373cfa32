/** One step for a virtual machine, done on the cluster. All of them pass virt-api, itself or as a webhook. */
import type { KubeClient } from '../../kubernetes/client.ts'
import { isKubeError } from '../../kubernetes/errors.ts'
import { paths } from '../../kubernetes/resources.ts'
import { touchAnnotation } from '../fence/names.ts'
import type { Step } from '../plan/steps.ts'
import { touchText } from '../plan/vm.ts'
import { type CallLimits, type StepOutcome, unlessReplaced } from './outcome.ts'

/** virt-api's answer to a start of a VM that somebody has asked to start already. */
export const isStartUnderWay = (error: unknown): boolean => isKubeError(error, 'server-error') && error.message.includes('already underway')

export async function executeVmStep(
  client: KubeClient,
  step: Step & { readonly kind: 'vm' },
  isoTime: string,
  call: CallLimits,
): Promise<StepOutcome> {
  const { namespace, name } = step.workload
  switch (step.action.kind) {
    case 'start':
      try {
        await client.putSubresource(paths.startVirtualMachine(namespace, name), {}, call)
        return 'done'
      } catch (error) {
        if (isStartUnderWay(error)) return 'done'
        if (isKubeError(error, 'conflict') && error.message.includes('already running')) return 'done'
        throw error
      }
    case 'delete-vmi':
      return unlessReplaced(client.delete(paths.virtualMachineInstance(namespace, name), { uid: step.action.uid, ...call }))
    case 'touch-vmi': {
      const path = paths.virtualMachineInstance(namespace, name)
      const text = touchText(isoTime, step.action.count)
      const body = { metadata: { uid: step.workload.uid, annotations: { [touchAnnotation]: text } } }
      // The dry run fails for as long as KubeVirt's webhook is away; nothing is changed then.
      return unlessReplaced(client.patchMerge(path, body, { ...call, dryRun: true }).then(() => client.patchMerge(path, body, call)))
    }
    case 'skip-backoff':
      try {
        await client.patchJson(`${paths.virtualMachine(namespace, name)}/status`, [{ op: 'remove', path: '/status/startFailure' }], call)
        return 'done'
      } catch (error) {
        if (isKubeError(error, 'invalid', 'not-found')) return 'gone'
        throw error
      }
    default:
      return step.action satisfies never
  }
}
