/** `drbdsetup events2 --timestamps --statistics [--full]`, line by line, merged into the same model as `status`. Pure. */
import {
  byPeerNodeId,
  byVolume,
  type Connection,
  connectionStates,
  DrbdInputError,
  diskStates,
  type PeerVolume,
  type Resource,
  replicationStates,
  roles,
  type Suspended,
  type Volume,
} from './model.ts'

const verbs = ['exists', 'create', 'change', 'destroy', 'rename', 'call', 'response', '-'] as const
const objects = ['resource', 'device', 'connection', 'peer-device', 'path', 'helper', '-', 'skipped'] as const
const MAXIMUM_LINE_LENGTH = 16 * 1024

/** One line. `fields` are in their printed form; `may_promote` is among them and is never used: it says yes where promotion is refused. */
export interface Event {
  readonly verb: (typeof verbs)[number]
  readonly object: (typeof objects)[number]
  readonly fields: ReadonlyMap<string, string>
  readonly line: string
}

/** What the lines so far amount to. */
export interface EventsState {
  readonly resources: ReadonlyMap<string, Resource>
  /** The initial dump has ended (`exists -`). */
  readonly isComplete: boolean
  /** The kernel's events came out of order or were lost (`- skipped N`): read the whole state again before believing this one. */
  readonly hasSkipped: boolean
}

export const noEvents: EventsState = { resources: new Map(), isComplete: false, hasSkipped: false }

/** @throws DrbdInputError where the line is not one of events2's. An empty line is none either. */
export function parseEvent(line: string): Event {
  if (line.length > MAXIMUM_LINE_LENGTH) throw refused(line, `${line.length} characters`, `at most ${MAXIMUM_LINE_LENGTH} characters`)
  const words = line.split(' ').filter((word) => word !== '')
  // With --timestamps the first word is one: no verb begins with a digit.
  if (/^\d/.test(words[0] ?? '')) {
    const timestamp = words.shift() ?? ''
    if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)$/.test(timestamp)) throw refused(line, timestamp, 'an ISO timestamp')
  }
  const [verbWord, objectWord, ...rest] = words
  const verb = verbs.find((one) => one === verbWord) ?? fail(line, verbWord, `a verb: ${verbs.join(', ')}`)
  const object = objects.find((one) => one === objectWord) ?? fail(line, objectWord, `an object: ${objects.join(', ')}`)
  if ((object === 'skipped') !== (verb === '-')) throw refused(line, `${verb} ${object}`, 'known together')
  const fields = new Map<string, string>()
  if (object === 'skipped') {
    if (!/^-?\d+$/.test(rest[0] ?? '')) throw refused(line, rest[0], 'a number of skipped events')
    return { verb, object, fields, line }
  }
  for (const word of rest) {
    // Values hold colons themselves (local:ipv4:10.77.0.11:7000): only the first one separates.
    const colon = word.indexOf(':')
    if (colon <= 0) throw refused(line, word, 'key:value')
    fields.set(word.slice(0, colon), word.slice(colon + 1))
  }
  return { verb, object, fields, line }
}

/**
 * The state after one more line.
 *
 * @throws DrbdInputError also when the line contradicts the state (a change to what does not exist): lines were lost, read everything again.
 */
export function applyEvent(state: EventsState, event: Event): EventsState {
  if (event.object === '-') return { ...state, isComplete: true }
  if (event.object === 'skipped') return { ...state, hasSkipped: true }
  if (event.object === 'helper' || event.object === 'path') return state
  return event.object === 'resource' ? applyToResource(state, event) : applyToPart(state, event)
}

function applyToResource(state: EventsState, event: Event): EventsState {
  const { verb } = event
  if (verb === 'call' || verb === 'response' || verb === '-') throw refused(event.line, `${verb} resource`, 'known together')
  const name = text(event, 'name')
  const known = state.resources.get(name)
  const resources = new Map(state.resources)
  if (verb === 'destroy') {
    resources.delete(name)
    return { ...state, resources }
  }
  if (known === undefined && (verb === 'change' || verb === 'rename')) throw refused(event.line, name, 'a resource that exists')
  if (known !== undefined && verb === 'rename') {
    const newName = text(event, 'new_name')
    resources.delete(name)
    resources.set(newName, { ...known, name: newName })
    return { ...state, resources }
  }
  resources.set(name, {
    name,
    role: oneOf(event, 'role', roles, known?.role),
    suspended: readSuspended(event, known?.suspended),
    forceIoFailures: yesNo(event, 'force-io-failures', known?.forceIoFailures ?? false),
    // `exists` again for a known resource is not a new one: its parts are listed by lines of their own.
    volumes: known?.volumes ?? [],
    connections: known?.connections ?? [],
  })
  return { ...state, resources }
}

function applyToPart(state: EventsState, event: Event): EventsState {
  if (event.verb === 'call' || event.verb === 'response' || event.verb === 'rename' || event.verb === '-') {
    throw refused(event.line, `${event.verb} ${event.object}`, 'known together')
  }
  const name = text(event, 'name')
  const resource = state.resources.get(name)
  if (resource === undefined) {
    // A resource that goes down takes its parts along, whichever line comes first.
    if (event.verb === 'destroy') return state
    throw refused(event.line, name, 'a resource that exists')
  }
  return { ...state, resources: new Map(state.resources).set(name, withPart(resource, event)) }
}

function withPart(resource: Resource, event: Event): Resource {
  if (event.object === 'device') {
    const volume = number(event, 'volume')
    const known = resource.volumes.find((one) => one.volume === volume)
    const others = resource.volumes.filter((one) => one.volume !== volume)
    // `destroy device` carries no minor.
    if (event.verb === 'destroy') return { ...resource, volumes: others }
    mustExist(event, known)
    return { ...resource, volumes: [...others, readVolume(event, volume, known)].toSorted(byVolume) }
  }
  const peerNodeId = number(event, 'peer-node-id')
  const known = resource.connections.find((one) => one.peerNodeId === peerNodeId)
  const others = resource.connections.filter((one) => one.peerNodeId !== peerNodeId)
  // No `destroy peer-device` was ever seen: those go with their connection.
  if (event.object === 'connection' && event.verb === 'destroy') return { ...resource, connections: others }
  const next = event.object === 'connection' ? readConnection(event, peerNodeId, known) : withPeerVolume(event, known)
  return next === undefined ? resource : { ...resource, connections: [...others, next].toSorted(byPeerNodeId) }
}

const readVolume = (event: Event, volume: number, known: Volume | undefined): Volume => ({
  volume,
  minor: event.fields.has('minor') || known === undefined ? number(event, 'minor') : known.minor,
  diskState: oneOf(event, 'disk', diskStates, known?.diskState),
  isClient: yesNo(event, 'client', known?.isClient),
  hasQuorum: yesNo(event, 'quorum', known?.hasQuorum),
  upperPending: statistic(event, 'upper-pending', known?.upperPending),
})

function readConnection(event: Event, peerNodeId: number, known: Connection | undefined): Connection {
  mustExist(event, known)
  return {
    peer: event.fields.has('conn-name') || known === undefined ? text(event, 'conn-name') : known.peer,
    peerNodeId,
    connectionState: oneOf(event, 'connection', connectionStates, known?.connectionState),
    peerRole: oneOf(event, 'role', roles, known?.peerRole),
    volumes: known?.volumes ?? [],
  }
}

function withPeerVolume(event: Event, connection: Connection | undefined): Connection | undefined {
  if (connection === undefined) {
    if (event.verb === 'destroy') return undefined
    throw refused(event.line, event.fields.get('peer-node-id'), 'a connection that exists')
  }
  const volume = number(event, 'volume')
  const known = connection.volumes.find((one) => one.volume === volume)
  const others = connection.volumes.filter((one) => one.volume !== volume)
  if (event.verb === 'destroy') return { ...connection, volumes: others }
  mustExist(event, known)
  return { ...connection, volumes: [...others, readPeerVolume(event, volume, known)].toSorted(byVolume) }
}

const readPeerVolume = (event: Event, volume: number, known: PeerVolume | undefined): PeerVolume => ({
  volume,
  replicationState: oneOf(event, 'replication', replicationStates, known?.replicationState),
  peerDiskState: oneOf(event, 'peer-disk', diskStates, known?.peerDiskState),
  isPeerClient: yesNo(event, 'peer-client', known?.isPeerClient),
  resyncSuspended: event.fields.has('resync-suspended') || known === undefined ? text(event, 'resync-suspended') : known.resyncSuspended,
  outOfSyncKib: statistic(event, 'out-of-sync', known?.outOfSyncKib),
})

function readSuspended(event: Event, known: Suspended | undefined): Suspended {
  const printed = event.fields.get('suspended')
  if (printed === undefined) return known ?? fail(event.line, undefined, 'there (suspended)')
  const reasons = printed === 'no' ? [] : printed.split(',')
  const unknown = reasons.find((reason) => !['user', 'no-data', 'fencing', 'quorum'].includes(reason))
  if (unknown !== undefined) throw refused(event.line, `suspended:${printed}`, 'no, or of user, no-data, fencing, quorum')
  const has = (reason: string) => reasons.includes(reason)
  return { user: has('user'), noData: has('no-data'), fencing: has('fencing'), quorum: has('quorum') }
}

function mustExist(event: Event, known: unknown): void {
  if (event.verb === 'change' && known === undefined) throw refused(event.line, event.object, 'one that exists')
}

function text(event: Event, key: string): string {
  const printed = event.fields.get(key)
  return printed === undefined || printed === '' ? fail(event.line, `${key}:${printed ?? ''}`, `there (${key})`) : printed
}

function number(event: Event, key: string): number {
  const printed = event.fields.get(key) ?? ''
  return /^\d{1,9}$/.test(printed) ? Number(printed) : fail(event.line, `${key}:${printed}`, 'a whole number')
}

function statistic(event: Event, key: string, known: number | undefined): number | undefined {
  const printed = event.fields.get(key)
  if (printed === undefined) return known
  return /^\d{1,15}$/.test(printed) ? Number(printed) : undefined
}

function oneOf<const T extends string>(event: Event, key: string, allowed: readonly T[], known: T | undefined): T {
  const printed = event.fields.get(key)
  if (printed === undefined && known !== undefined) return known
  return allowed.find((one) => one === printed) ?? fail(event.line, `${key}:${printed ?? ''}`, `one of ${allowed.join(', ')}`)
}

function yesNo(event: Event, key: string, known: boolean | undefined): boolean {
  const printed = event.fields.get(key)
  if (printed === undefined && known !== undefined) return known
  if (printed === 'yes' || printed === 'no') return printed === 'yes'
  return fail(event.line, `${key}:${printed ?? ''}`, 'yes or no')
}

const refused = (line: string, seen: unknown, allowed: string): DrbdInputError =>
  new DrbdInputError('events2', `"${line.slice(0, 200)}"`, seen, allowed)

function fail(line: string, seen: unknown, allowed: string): never {
  throw refused(line, seen, allowed)
}
