/** One step of a plan: a leader-election Lease whose holder died. */
import type { KubeClient } from '../../kubernetes/client.ts'
import { isKubeError } from '../../kubernetes/errors.ts'
import { paths } from '../../kubernetes/resources.ts'
import type { RecordedLease } from '../fence/fence.ts'

/** Empties the holder if it is still the dead one. @returns `replaced` when another leads already. */
export async function releaseLease(client: KubeClient, lease: RecordedLease, signal: AbortSignal): Promise<'done' | 'gone' | 'replaced'> {
  try {
    await client.patchJson(
      paths.lease(lease.namespace, lease.name),
      [
        { op: 'test', path: '/spec/holderIdentity', value: lease.holder },
        { op: 'replace', path: '/spec/holderIdentity', value: '' },
      ],
      { signal },
    )
    return 'done'
  } catch (error) {
    if (isKubeError(error, 'not-found')) return 'gone'
    // A failed test answers 422: someone else leads.
    if (isKubeError(error, 'invalid', 'conflict')) return 'replaced'
    throw error
  }
}
