import { expect, test } from 'vitest'
import { storageEntry as end } from '../../../test/support/storage-entry.ts'
import type { StorageEntry } from '../../evidence/storage-report.ts'
import { agent, first, heartbeat } from '../../../test/support/protocol-states.ts'
import { nodeId } from '../../protocol/ids.ts'
import { agentReport } from './agent-report.ts'

const b1 = nodeId('b1')

function reported(entries: readonly StorageEntry[] | undefined, nowMs = 1_000) {
  const made = agent('a1')
  made.hear('b1', heartbeat(first, 1, { killedEpoch: 4 }), 1_000)
  return agentReport(made.state, entries, b1, nowMs)
}

test('a node that tells nothing of its replicas is not one that has none', () => {
  expect(reported([])).toEqual({ killedUnderEpoch: 4, resources: [] })
  expect(reported(undefined)).toEqual({ killedUnderEpoch: 4, resources: undefined })
})

test('a node that is not heard any more says nothing', () => {
  expect(reported([], 60_000)).toBeUndefined()
})

test('a replica is judged as a whole: it resyncs from one peer although another is dead', () => {
  const behind = { ownUpToDate: false }
  expect(reported([end('a1', behind), end('b2', { ...behind, isConnected: false })])?.resources).toEqual([
    { name: 'pvc-1', role: 'Secondary', disk: 'not UpToDate', isSyncTarget: true },
  ])
  expect(reported([end('a1', { ...behind, isConnected: false })])?.resources).toMatchObject([{ disk: 'not UpToDate', isSyncTarget: false }])
})

test('a tie-breaker has no data to be behind with', () => {
  const diskless = { ownUpToDate: false, isClient: true }
  expect(reported([end('a1', diskless), end('b2', { ...diskless, isConnected: false })])?.resources).toMatchObject([{ disk: 'Diskless' }])
})
