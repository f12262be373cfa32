/** The demo's scenarios: what happens, and what must come of it. */
import { monotonicMs } from '../storage/replica.ts'
import { API_SITE } from '../nodes/rooms.ts'
import { WITNESS_SITE } from './setup.ts'
import { returningVms, type Controls } from './controls.ts'

export interface Scenario {
  readonly description: string
  readonly run: (stage: Controls) => Promise<void>
}

const A = 'room-a'
const B = 'room-b'
const COMES_BACK_MS = 45_000

const nodesIn = ({ demo }: Controls, room: string): readonly string[] => demo.rooms.nodesOf(room).map(({ name }) => name)

const vmsOn = ({ demo }: Controls, nodes: ReadonlySet<string>): ReadonlySet<string> =>
  new Set([...demo.rooms.observer.progress().values()].filter(({ node }) => nodes.has(node)).map(({ vm }) => vm))

async function untilFenced(stage: Controls, nodes: readonly string[]): Promise<boolean> {
  const isDone = await stage.until(`the fence of ${nodes.join(', ')}`, () => nodes.every((node) => stage.fenced().has(node)), COMES_BACK_MS)
  stage.moments.set('fence seen', monotonicMs())
  return isDone
}

/** Every VM that was lost and comes back writes on a survivor. */
async function untilBack(stage: Controls, lost: ReadonlySet<string>, nodes: ReadonlySet<string>): Promise<void> {
  const expected = returningVms(stage, lost)
  const isBack = (vm: string): boolean => {
    const seen = stage.demo.rooms.observer.progress().get(vm)
    return seen !== undefined && !nodes.has(seen.node) && seen.firstAcknowledgedAtMs !== undefined
  }
  const isDone = await stage.until(`${expected.length} VMs to write in the other room`, () => expected.every(isBack), COMES_BACK_MS)
  if (!isDone) stage.wrong(`not back: ${expected.filter((vm) => !isBack(vm)).join(', ')}`)
}

/** Without a watchdog and without freeze mode nothing proves that a silent room has stopped: the fence waits, and says for what. */
async function waitsForAnotherProof(stage: Controls): Promise<void> {
  const wasTold = (): boolean =>
    stage.progress
      .logged()
      .some(({ line }) => line['event'] === 'waiting-for-proof' && String(line['reason']).includes('no working watchdog'))
  await stage.until('the fence to say that it waits for another proof', wasTold, COMES_BACK_MS)
  await stage.pause(10_000)
  const ordered = stage.progress.logged().filter(({ line }) => line['event'] === 'vm-ordered')
  if (ordered.length > 0) stage.wrong(`${ordered.length} VMs were ordered elsewhere without a proof`)
}

/** Waits until these nodes' agents have killed what ran there and their nodes are Ready: what a person looks at before an un-fence. */
export async function safeToUnfence(stage: Controls, nodes: readonly string[]): Promise<void> {
  const { demo } = stage
  const isKilled = (node: string): boolean => {
    const own = stage.progress.statuses().get(node)?.containment
    return own?.desired === 'kill' && own.isVerified
  }
  await stage.until(`the agents of ${nodes.join(', ')} to learn their fence and be harmless`, () => nodes.every(isKilled), COMES_BACK_MS)
  const isReady = (name: string): boolean => {
    const node = demo.store.get('nodes', undefined, name) as
      | { status?: { conditions?: readonly { type: string; status: string }[] } }
      | undefined
    return node?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true
  }
  await stage.until(`${nodes.join(', ')} to be Ready`, () => nodes.every(isReady), COMES_BACK_MS)
}

async function bringBack(stage: Controls, room: string): Promise<void> {
  const { demo } = stage
  const nodes = nodesIn(stage, room).filter((node) => stage.fenced().has(node))
  await safeToUnfence(stage, nodes)
  stage.unfence(nodes)
  await stage.until(`${nodes.join(', ')} to be un-fenced`, () => nodes.every((node) => !stage.fenced().has(node)), COMES_BACK_MS)
  stage.moments.set('un-fenced', monotonicMs())
  const taints = (name: string): readonly { key: string }[] =>
    (demo.store.get('nodes', undefined, name) as { spec?: { taints?: readonly { key: string }[] } } | undefined)?.spec?.taints ?? []
  await stage.until(
    'our taints to be gone',
    () =>
      nodes.every((name) => taints(name).every(({ key }) => key !== 'roomfence.io/fenced' && key !== 'node.kubernetes.io/out-of-service')),
    COMES_BACK_MS,
  )
  const isVoting = (): boolean =>
    [...stage.progress.statuses().values()].some((status) =>
      nodes.every((name) => status.members.some(({ node, standing }) => node === name && standing === 'voting')),
    )
  await stage.until(`${nodes.join(', ')} to vote again`, isVoting, COMES_BACK_MS)
}

/** Nothing may happen: no fence, no pause, the same copies of the same VMs. */
async function untouched(stage: Controls, forMs: number, what: string): Promise<void> {
  const before = stage.instances()
  const untilMs = monotonicMs() + forMs
  while (monotonicMs() < untilMs) {
    await stage.pause(200)
    if (stage.fenced().size > 0) return stage.wrong(`${[...stage.fenced()].join(', ')} fenced although only ${what}`)
  }
  const contained = [...stage.progress.statuses().values()]
    .filter(({ containment }) => containment.desired !== 'none')
    .map(({ node }) => node)
  if (contained.length > 0) stage.wrong(`${contained.join(', ')} contained although only ${what}`)
  sameCopies(stage, before, what)
}

function sameCopies(stage: Controls, before: ReadonlyMap<string, string>, what: string): void {
  const after = stage.instances()
  for (const [vm, instance] of before) if (after.get(vm) !== instance) stage.wrong(`${vm} was restarted although only ${what}`)
}

async function allWrite(stage: Controls, vms: Iterable<string>, withinMs: number): Promise<void> {
  const expected = [...vms]
  await stage.until(`${expected.length} VMs to write`, () => expected.every((vm) => stage.writing().has(vm)), withinMs)
}

/** After a cut of any kind: whoever was fenced comes back, and everything runs. */
async function settle(stage: Controls, before: ReadonlySet<string>): Promise<void> {
  await stage.pause(3_000)
  for (const room of [A, B]) if (nodesIn(stage, room).some((node) => stage.fenced().has(node))) await bringBack(stage, room)
  await allWrite(stage, returningVms(stage, before), COMES_BACK_MS)
}

export const scenarios: Readonly<Record<string, Scenario>> = {
  'room-power': {
    description: 'room B loses its power; its VMs come back in room A; room B returns and is un-fenced',
    run: async (stage) => {
      const nodes = new Set(nodesIn(stage, B))
      const lost = vmsOn(stage, nodes)
      await stage.powerOff(B)
      if (!(await untilFenced(stage, [...nodes]))) return
      const { hasWatchdog, freeze } = stage.demo.options
      if (hasWatchdog || freeze) await untilBack(stage, lost, nodes)
      else {
        await waitsForAnotherProof(stage)
        stage.confirmDead([...nodes])
        await untilBack(stage, lost, nodes)
      }
      await stage.powerOn(B)
      await bringBack(stage, B)
    },
  },
  'link-cut': {
    description: 'the link between the rooms is cut, both live: one room goes on, the other stops; then the link heals',
    run: async (stage) => {
      const running = stage.writing()
      const nodes = new Set(nodesIn(stage, B))
      const lost = vmsOn(stage, nodes)
      stage.moments.set('power loss', monotonicMs())
      stage.say('*** the link between the rooms is cut; room B cannot reach the API server either')
      stage.demo.network.cut(A, B)
      stage.demo.network.cut(B, API_SITE)
      if (!(await untilFenced(stage, [...nodes]))) return
      await untilBack(stage, lost, nodes)
      stage.say('*** the link is back')
      stage.demo.network.healAll()
      await settle(stage, running)
    },
  },
  'one-way-cut': {
    description: 'only the direction from room A to room B is lost',
    run: async (stage) => {
      const running = stage.writing()
      stage.say('*** nothing arrives in room B from room A any more; the other direction works')
      stage.demo.network.cut(A, B, { direction: 'forward' })
      await stage.pause(12_000)
      const rooms = [A, B].filter((room) => nodesIn(stage, room).some((node) => stage.fenced().has(node)))
      if (rooms.length > 1) stage.wrong('both rooms are fenced')
      stage.say('*** the link is whole again')
      stage.demo.network.healAll()
      await settle(stage, running)
    },
  },
  'link-and-witness-lost': {
    description: 'link and witness are lost together: nobody has a majority, everything pauses; then everything resumes where it stood',
    run: async (stage) => {
      const running = stage.writing()
      const before = stage.instances()
      stage.say('*** the link between the rooms and the witness are lost at the same moment')
      stage.demo.network.cut(A, B)
      for (const room of [A, B]) stage.demo.network.cut(room, WITNESS_SITE)
      await stage.until('every VM to stand still', () => stage.writing().size === 0, COMES_BACK_MS)
      await stage.pause(4_000)
      if (stage.writing().size > 0) stage.wrong(`${[...stage.writing()].join(', ')} writes although nobody holds a majority`)
      if (stage.fenced().size > 0) stage.wrong('a room was fenced without a majority')
      stage.say('*** link and witness are back')
      stage.demo.network.healAll()
      await allWrite(stage, running, COMES_BACK_MS)
      sameCopies(stage, before, 'everything was paused')
    },
  },
  'api-outage': {
    description: 'the API server is out of reach of all nodes: nothing is fenced, nothing pauses',
    run: async (stage) => {
      stage.say('*** no node reaches the API server')
      for (const room of [A, B]) stage.demo.network.cut(room, API_SITE)
      await untouched(stage, 10_000, 'the API server was away')
      stage.say('*** the API server is back')
      stage.demo.network.healAll()
      await untouched(stage, 3_000, 'the API server came back')
    },
  },
  'single-node': {
    description: 'one node of a healthy room loses its power: it alone is fenced, its VMs come back on the node with the other replica',
    run: async (stage) => {
      const [first] = stage.demo.rooms.nodesOf(B)
      if (!first) return
      const nodes = new Set([first.name])
      const lost = vmsOn(stage, nodes)
      stage.say(`*** ${first.name} loses its power`)
      stage.moments.set('power loss', monotonicMs())
      await first.powerOff()
      stage.demo.cluster.hostChanged(first.name)
      if (!(await untilFenced(stage, [first.name]))) return
      if (stage.fenced().size !== 1) stage.wrong(`more than ${first.name} is fenced: ${[...stage.fenced()].join(', ')}`)
      await untilBack(stage, lost, nodes)
      await first.powerOn()
      stage.demo.cluster.hostChanged(first.name)
      await bringBack(stage, B)
    },
  },
  flapping: {
    description: 'the link between the rooms goes away and comes back again and again',
    run: async (stage) => {
      const running = stage.writing()
      stage.say('*** the link flaps')
      for (const ms of [700, 1_500, 400, 2_600, 900, 3_200, 500, 1_200]) {
        stage.demo.network.cut(A, B)
        await stage.pause(ms)
        stage.demo.network.heal(A, B)
        await stage.pause(600)
      }
      stage.say('*** the link stays')
      // A VM whose surviving replica was resyncing when the link went is rightly held; it is back after the un-fence at the latest.
      await settle(stage, running)
    },
  },
}
