/** `drbdsetup show --json --show-defaults`: the options in force, as far as freeze mode depends on them. Pure. */
import { type JsonReader, readJsonArray, refuseTwins } from './reader.ts'

export interface ShownConnection {
  readonly peer: string
  readonly peerNodeId: number
  /** `dont-care`, `resource-only` or `resource-and-stonith`; undefined where drbdsetup did not print it. */
  readonly fencing: string | undefined
  /** `A`, `B` or `C`. */
  readonly protocol: string | undefined
  readonly pingIntMs: number | undefined
  readonly pingTimeoutMs: number | undefined
  readonly allowTwoPrimaries: boolean | undefined
  readonly rrConflict: string | undefined
}

export interface ShownResource {
  readonly name: string
  readonly onSuspendedPrimaryOutdated: string | undefined
  readonly connections: readonly ShownConnection[]
}

/** @throws DrbdInputError */
export function parseShow(text: string): readonly ShownResource[] {
  const resources = readJsonArray('show', text).map((json): ShownResource => {
    const options = json.has('options') ? json.object('options') : undefined
    const connections = json.objects('connections').map(readConnection)
    refuseTwins('show', `${json.path}.connections`, connections, ({ peerNodeId }) => peerNodeId)
    return {
      name: json.text('resource'),
      onSuspendedPrimaryOutdated: options && optionalText(options, 'on-suspended-primary-outdated'),
      connections: connections.toSorted((a, b) => a.peerNodeId - b.peerNodeId),
    }
  })
  return refuseTwins('show', 'the resource name', resources, ({ name }) => name)
}

function readConnection(json: JsonReader): ShownConnection {
  const net = json.object('net')
  return {
    peer: net.text('_name'),
    peerNodeId: json.number('_peer_node_id'),
    fencing: optionalText(net, 'fencing'),
    protocol: optionalText(net, 'protocol'),
    // DRBD's own units: ping-int in seconds, ping-timeout in tenths of one.
    pingIntMs: optionalCount(net, 'ping-int', 1000),
    pingTimeoutMs: optionalCount(net, 'ping-timeout', 100),
    allowTwoPrimaries: net.has('allow-two-primaries') ? net.boolean('allow-two-primaries') : undefined,
    rrConflict: optionalText(net, 'rr-conflict'),
  }
}

const optionalText = (json: JsonReader, key: string): string | undefined => (json.has(key) ? json.text(key) : undefined)

/** Numbers are printed as texts here (`"10"`), unlike in `status`. */
function optionalCount(json: JsonReader, key: string, unitMs: number): number | undefined {
  if (!json.has(key)) return undefined
  const printed = json.text(key)
  return /^\d{1,6}$/.test(printed) ? Number(printed) * unitMs : undefined
}
