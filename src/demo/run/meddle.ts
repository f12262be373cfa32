/** Rules broken on purpose, to show that the observer sees: somebody unlocks the loser's volumes as well. */
import { execFile } from 'node:child_process'
import type { BrokenRule } from './setup.ts'
import type { Stage } from './stage.ts'

const EVERY_MS = 400

/** @returns what ends it */
export function meddle({ demo }: Stage, broken: BrokenRule | undefined): () => void {
  if (broken !== 'unlock') return () => undefined
  const minors = demo.vms.map((_, index) => 1000 + index)
  const timer = setInterval(() => {
    for (const { paths } of demo.rooms.nodesOf('room-b'))
      for (const minor of minors) execFile(paths.drbdsetup, ['resume-io', String(minor)], () => undefined)
  }, EVERY_MS)
  return () => clearInterval(timer)
}
