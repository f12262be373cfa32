/** A scenario file in the demo's own means: which link, node or server what is done to, and when. Times are multiplied by the file's scale. */
import { type Expectation, nodesOf, type ScenarioFault, type ScenarioFile } from '../../scenario/file.ts'
import { API_SITE } from '../nodes/rooms.ts'
import { PATHS, WITNESS_SITE } from './setup.ts'

export type Act =
  | { readonly kind: 'cut'; readonly from: string; readonly to: string; readonly isOneWay: boolean; readonly path: string | undefined }
  | { readonly kind: 'heal'; readonly from: string; readonly to: string }
  | { readonly kind: 'heal-all' }
  | {
      readonly kind: 'degrade'
      readonly from: string
      readonly to: string
      readonly path: string | undefined
      readonly lossPercent: number
      readonly delayMs: number
      readonly jitterMs: number
      readonly duplicatePercent: number
    }
  | { readonly kind: 'power-off' | 'power-on' | 'unfence'; readonly nodes: readonly string[] }
  /** A person's command, given to the agent of a node with power that it does not name. */
  | {
      readonly kind: 'command'
      readonly command: 'confirm-dead' | 'maintenance' | 'end-maintenance' | 'suspend' | 'resume'
      readonly nodes: readonly string[]
    }
  /** The agent's process ends by a signal and is away for so long, or stands still for so long. */
  | { readonly kind: 'crash' | 'leave' | 'stop'; readonly nodes: readonly string[]; readonly forMs: number }
  | { readonly kind: 'witness'; readonly isUp: boolean }
  | { readonly kind: 'api'; readonly isUp: boolean }
  | { readonly kind: 'expect'; readonly expectation: NodeExpectation }

/** An expectation with nodes in place of rooms. */
export interface NodeExpectation {
  readonly fenced: readonly string[]
  readonly run: readonly string[]
  readonly down: readonly string[]
  readonly sameCopies: boolean
  readonly witnessVotes: boolean | undefined
}

export interface TimedAct {
  readonly atMs: number
  readonly act: Act
  /** What a person reads when it is done. */
  readonly text: string
}

/** The demo's name of a room, a node, the witness or the API server. */
function siteOf(place: string): string {
  if (place === 'witness') return WITNESS_SITE
  if (place === 'api') return API_SITE
  return place.length === 1 ? `room-${place}` : place
}

/** @throws when real processes cannot play it, with the reason that the file gives, or with the step that the file should have named. */
export function translate(file: ScenarioFile): readonly TimedAct[] {
  if (typeof file.demo === 'string')
    throw new Error(
      `${file.name}: real processes cannot play this: ${file.demo}; the simulator does: npm run simulate -- --scenario ${file.name}`,
    )
  if (file.rooms.length !== 2) throw new Error(`${file.name}: saw ${file.rooms.length} rooms; the demo has two`)
  const [first, second] = file.rooms
  if (first !== second) throw new Error(`${file.name}: saw rooms of ${first} and ${second} nodes; the demo's rooms are of one size`)
  const { scale } = file.demo
  const steps = file.steps.flatMap(({ atMs, fault }) =>
    actsOf(file, fault, scale).map(({ afterMs, act }): TimedAct => ({ atMs: atMs * scale + afterMs, act, text: describe(act) })),
  )
  const expectations = file.expect.map((one): TimedAct => {
    const act: Act = { kind: 'expect', expectation: nodeExpectation(file, one) }
    return { atMs: one.atMs * scale, act, text: describe(act) }
  })
  // At one time what is done comes first, as in the simulator.
  return [...steps, ...expectations].toSorted((a, b) => a.atMs - b.atMs)
}

const nodeExpectation = (file: ScenarioFile, { fenced, run, down, sameCopies, witnessVotes }: Expectation): NodeExpectation => ({
  fenced: nodesOf(file, fenced),
  run: nodesOf(file, run),
  down: nodesOf(file, down),
  sameCopies,
  witnessVotes,
})

const unplayable = (file: ScenarioFile, fault: ScenarioFault): Error =>
  new Error(
    `${file.name}: real processes cannot play the step ${JSON.stringify(fault)}; say so in its scenario.yaml: "demo: no, because ..."`,
  )

function actsOf(file: ScenarioFile, fault: ScenarioFault, scale: number): readonly { readonly afterMs: number; readonly act: Act }[] {
  const now = (act: Act) => [{ afterMs: 0, act }]
  const pathOf = (path: number | null): string | undefined => (path === null || file.paths === 1 ? undefined : PATHS[path])
  switch (fault.kind) {
    case 'cut':
      return now({
        kind: 'cut',
        from: siteOf(fault.from),
        to: siteOf(fault.to),
        isOneWay: fault.isOneWay,
        path: pathOf(fault.path),
      })
    case 'degrade':
      return now({
        kind: 'degrade',
        from: siteOf(fault.from),
        to: siteOf(fault.to),
        path: pathOf(fault.path),
        lossPercent: fault.loss * 100,
        delayMs: fault.delayMs,
        jitterMs: fault.jitterMs,
        duplicatePercent: fault.duplicate * 100,
      })
    case 'flap': {
      const [from, to] = [siteOf(fault.from), siteOf(fault.to)]
      return Array.from({ length: fault.times * 2 }, (_, i) => ({
        afterMs: i * fault.everyMs * scale,
        act: i % 2 === 0 ? { kind: 'cut', from, to, isOneWay: false, path: undefined } : { kind: 'heal', from, to },
      }))
    }
    case 'heal':
      return now({ kind: 'heal-all' })
    case 'power-off':
    case 'power-on':
    case 'unfence':
      return now({ kind: fault.kind, nodes: nodesOf(file, [fault.target]) })
    case 'crash':
    case 'leave':
      return now({ kind: fault.kind, nodes: nodesOf(file, [fault.target]), forMs: fault.backMs * scale })
    case 'stop':
      return now({ kind: 'stop', nodes: nodesOf(file, [fault.target]), forMs: fault.forMs * scale })
    case 'confirm-dead':
      return now({ kind: 'command', command: 'confirm-dead', nodes: nodesOf(file, [fault.target]) })
    case 'maintenance':
      return now({ kind: 'command', command: fault.isOn ? 'maintenance' : 'end-maintenance', nodes: nodesOf(file, [fault.target]) })
    case 'suspension':
      return now({ kind: 'command', command: fault.isSuspended ? 'suspend' : 'resume', nodes: [] })
    case 'witness':
      if (fault.how === 'up' || fault.how === 'down') return now({ kind: 'witness', isUp: fault.how === 'up' })
      break
    case 'api':
      if (fault.how !== 'rollback') return now({ kind: 'api', isUp: fault.how === 'up' })
      break
    case 'stall':
    case 'clock':
    case 'disk':
    case 'stuck':
    case 'migrate':
      break
  }
  throw unplayable(file, fault)
}

type OnNodes = Extract<Act, { readonly nodes: readonly string[] }>

function describe(act: Act): string {
  if ('nodes' in act) return describeOnNodes(act)
  if (act.kind === 'expect') return describeExpectation(act.expectation)
  if (act.kind === 'witness') return act.isUp ? 'the witness is back' : 'the witness dies'
  if (act.kind === 'api') return act.isUp ? 'the API server is back' : 'no node reaches the API server'
  if (act.kind === 'heal-all') return 'all links are back'
  if (act.kind === 'heal') return `the link between ${act.from} and ${act.to} is back`
  const where = act.path === undefined ? '' : ` on the ${act.path} network`
  if (act.kind === 'degrade') return `from ${act.from} to ${act.to}${where}: ${act.lossPercent} % lost, ${act.delayMs} ms late`
  const what = act.isOneWay ? `nothing from ${act.from} arrives at ${act.to} any more` : `the link between ${act.from} and ${act.to} is cut`
  return `${what}${where}`
}

const happens: Readonly<Record<Exclude<OnNodes['kind'], 'command'>, string>> = {
  'power-off': 'the power goes',
  'power-on': 'the power is back',
  unfence: 'an operator wants to un-fence',
  crash: 'the agent crashes',
  leave: 'the agent is stopped on purpose',
  stop: 'the agent stands still',
}

/** The words of the command, without what every one of them has. */
export const commandLine = ({ command, nodes }: Extract<Act, { readonly kind: 'command' }>): string =>
  ['roomfence', command, ...(nodes.length > 0 ? ['--node', nodes.join(',')] : [])].join(' ')

function describeOnNodes(act: OnNodes): string {
  if (act.kind === 'command') return `a person: ${commandLine(act)}`
  const forHowLong = 'forMs' in act ? ` for ${(act.forMs / 1000).toFixed(1)} s` : ''
  return `${happens[act.kind]}${forHowLong}: ${act.nodes.join(', ')}`
}

function describeExpectation({ fenced, run, down, sameCopies, witnessVotes }: NodeExpectation): string {
  return [
    `fenced: ${fenced.length > 0 ? fenced.join(', ') : 'nobody'}`,
    run.length > 0 ? `all VMs run on ${run.join(', ')}` : 'no VM writes',
    ...(down.length > 0 ? [`but those of ${down.join(', ')}, which do not run`] : []),
    ...(sameCopies ? ['none was ended or started again'] : []),
    ...(witnessVotes === undefined ? [] : [`the witness ${witnessVotes ? 'votes' : 'has no vote'}`]),
  ].join('; ')
}

/** Nodes to which such a run does nothing and that nobody may fence: no copy of a VM may end there. */
export function untouchedIn(file: ScenarioFile): readonly string[] {
  const acts = translate(file).map(({ act }) => act)
  const touched = new Set(acts.flatMap((act) => (act.kind === 'expect' ? act.expectation.fenced : 'nodes' in act ? act.nodes : [])))
  return nodesOf(file, ['a', 'b']).filter((node) => !touched.has(node))
}
