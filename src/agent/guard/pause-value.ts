/** What a pause of one workload is worth, by how it uses its volumes and what DRBD shows of them. Pure. */
import type { PauseValue } from '../../containment/pause.ts'
import type { Workload } from '../../containment/workloads.ts'
import type { DrbdSnapshot } from '../../drbd/drbdsetup.ts'

/** DRBD resources bear the names of their PersistentVolumes (LINSTOR's way); a volume of another kind is judged by how it is used. */
export function pauseValueOf({ persistentVolumes, isMounted }: Workload, snapshot: DrbdSnapshot): PauseValue {
  const isStill = (name: string): boolean => {
    const resource = snapshot.kind === 'known' ? snapshot.resources.find((one) => one.name === name) : undefined
    return resource !== undefined && (resource.role !== 'Primary' || resource.suspended.fencing)
  }
  if (persistentVolumes.length > 0 && persistentVolumes.every(isStill)) return 'already-suspended'
  // A mounted file system writes from the page cache on behind a paused process; a block device opened by QEMU without cache does not.
  return isMounted ? 'never' : 'when-paused'
}
