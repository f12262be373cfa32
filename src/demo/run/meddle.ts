/** Rules broken on purpose, to show that the observer sees: what a broken agent would do, done beside the real ones. */
import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BrokenRule } from './setup.ts'
import { WITNESS_SITE } from './setup.ts'
import type { Controls } from './controls.ts'

const PASSES = 8

/** @returns what ends it */
export function meddle(stage: Controls, broken: BrokenRule | undefined): () => void {
  const { demo } = stage
  const [, loser] = demo.roomNames
  // Nobody tells the loser: its permit alone would have to stop it.
  if (broken === 'permits') demo.network.cut(loser, WITNESS_SITE)
  const over = new AbortController()
  if (broken === 'unlock') for (const { name, paths } of demo.rooms.nodesOf(loser)) void unlock(name, paths.drbdsetup)
  return () => over.abort()

  /** Thaws every frozen volume of a node that no committed fence gave the right to go on. */
  async function unlock(node: string, drbdsetup: string): Promise<void> {
    const minors = demo.vms.flatMap(({ replicaNodes }, index) => (replicaNodes.includes(node) ? [1000 + index] : []))
    await stage.until('a frozen volume', () => stage.writing().size < demo.vms.length - 3, 20_000)
    for (let pass = 0; pass < PASSES && !over.signal.aborted; pass++) {
      for (const minor of minors) await new Promise((resolve) => execFile(drbdsetup, ['resume-io', String(minor)], resolve))
      await sleep(100)
    }
  }
}
