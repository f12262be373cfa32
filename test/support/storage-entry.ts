/** One end of a healthy connection, as a node reports it: for tests. */
import type { StorageEntry } from '../../src/evidence/storage-report.ts'

export const storageEntry = (peer: string, change: Partial<StorageEntry> = {}): StorageEntry => ({
  resource: 'pvc-1',
  peer,
  ownUpToDate: true,
  isClient: false,
  isPrimary: false,
  isFrozen: false,
  isConnected: true,
  peerUpToDate: true,
  hasFreezeMode: true,
  isUnlocked: false,
  isCutByForce: false,
  ...change,
})
