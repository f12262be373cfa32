/** What an API server, embedded or real, must do for roomfence, its demo and its tests. The same suites run against both. */
import { accessContract } from './access.ts'
import type { Connection } from '../../support/api-connection.ts'
import { customResourceContract } from './custom-resources.ts'
import { fenceContract } from './fences.ts'
import { kindContract } from './kinds.ts'
import { listContract } from './lists.ts'
import { objectContract } from './contract-objects.ts'
import { patchContract } from './patches.ts'
import { watchContract } from './watches.ts'

/** Declares the tests. @param connect called in hooks and tests only, when the server is up */
export function apiContract(connect: () => Connection): void {
  objectContract(connect)
  listContract(connect)
  watchContract(connect)
  patchContract(connect)
  kindContract(connect)
  customResourceContract(connect)
  fenceContract(connect)
  accessContract(connect)
}
