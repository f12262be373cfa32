/** What a run without freeze mode may lose: writes that the losing room acknowledged after the rooms were parted (docs/limits.md). Pure. */
import type { Finding } from '../observer/judge.ts'
import type { VmEvent } from '../vm/vm.ts'

/** Whether the finding is about such writes alone: whatever was acknowledged before `partedAtMs` must be there. */
export function isAfterParting(finding: Finding, events: readonly VmEvent[], partedAtMs: number): boolean {
  if (finding.type === 'acknowledgedRecordMissing') return finding.acknowledgedAtMs >= partedAtMs
  if (finding.type !== 'staleStart') return false
  const before = events.flatMap((event) =>
    event.type === 'acknowledged' && event.vm === finding.vm && event.atMs < partedAtMs ? [event.number] : [],
  )
  return finding.foundNumber >= Math.max(0, ...before)
}
