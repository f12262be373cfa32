/** Whether a scenario's expectation holds in the virtual world: who is fenced, which VMs run where, and whether they are the copies of the beginning. */
import { type Expectation, nodesOf, type ScenarioFile } from '../../scenario/file.ts'
import { isLive } from '../world/copies.ts'
import type { World } from '../world/world.ts'

/** Something to look at when its time has come: what is wrong then, undefined: nothing. */
export interface Checkpoint {
  readonly atMs: number
  readonly unmet: (world: World) => readonly string[]
}

export const checkpointsOf = (file: ScenarioFile): readonly Checkpoint[] =>
  file.expect.map((expectation) => ({ atMs: expectation.atMs, unmet: (world) => unmet(world, file, expectation) }))

const list = (names: readonly string[]): string => (names.length > 0 ? names.join(', ') : 'none')

function unmet(world: World, file: ScenarioFile, { fenced, run, down, sameCopies, witnessVotes }: Expectation): readonly string[] {
  const latest = world.observer.latest ?? world.genesis
  const wrong: string[] = []
  const isFenced = latest.members.filter(({ standing }) => standing === 'fenced').map(({ node }) => String(node))
  const mustBeFenced = nodesOf(file, fenced)
  if (isFenced.toSorted().join() !== mustBeFenced.toSorted().join())
    wrong.push(`fenced: ${list(mustBeFenced)} expected, ${list(isFenced)} seen`)
  const allowed = nodesOf(file, run)
  const downNodes = nodesOf(file, down)
  for (const { vm, sides } of world.volumes) {
    const home = world.nodes[sides[0].node]?.name
    const isDown = run.length === 0 || (home !== undefined && downNodes.includes(home))
    const running = world.copies
      .filter((copy) => copy.vm === vm && copy.state === 'running')
      .map(({ node }) => world.nodes[node]?.name ?? '')
    if (isDown && running.length > 0) wrong.push(`vm${vm} runs on ${running.join(', ')}, but must not run`)
    if (!isDown && (running.length !== 1 || !running.every((node) => allowed.includes(node))))
      wrong.push(`vm${vm} runs on ${list(running)}, but must run once on one of ${list(allowed)}`)
  }
  if (sameCopies && !(world.copies.length === world.volumes.length && world.copies.every(isLive)))
    wrong.push('a VM was ended, moved or started again')
  if (witnessVotes !== undefined && latest.witness?.isVoting !== witnessVotes)
    wrong.push(`the witness ${witnessVotes ? 'has no vote' : 'has its vote still'}`)
  return wrong.map((text) => `at ${expectationTime(world)} s: ${text}`)
}

const expectationTime = (world: World): string => (world.timeline.nowMs / 1000).toFixed(0)
