/** `drbdsetup status --json [--verbose --statistics]`, of drbd-utils 9.22 to 9.34, into the model. Pure. */
import {
  byPeerNodeId,
  byVolume,
  type Connection,
  connectionStates,
  diskStates,
  type PeerVolume,
  replicationStates,
  type Resource,
  roles,
  type Volume,
} from './model.ts'
import { type JsonReader, readJsonArray, refuseTwins } from './reader.ts'

/**
 * Every resource of this node, ordered by name. Keys that are not in the model are ignored: newer utils add some (`open`, `tls`, `paths`).
 *
 * @throws DrbdInputError on anything else than a whole, valid answer; nothing is returned for half of one.
 */
export function parseStatus(text: string): readonly Resource[] {
  const resources = readJsonArray('status', text).map(readResource)
  return refuseTwins('status', 'the resource name', resources, ({ name }) => name).toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

function readResource(json: JsonReader): Resource {
  const suspended = {
    user: json.boolean('suspended-user'),
    noData: json.boolean('suspended-no-data'),
    fencing: json.boolean('suspended-fencing'),
    quorum: json.boolean('suspended-quorum'),
  }
  const volumes = refuseTwins('status', `${json.path}.devices`, json.objects('devices').map(readVolume), ({ volume }) => volume)
  const connections = json.objects('connections').map(readConnection)
  refuseTwins('status', `${json.path}.connections`, connections, ({ peerNodeId }) => peerNodeId)
  refuseTwins('status', `${json.path}.connections`, connections, ({ peer }) => peer)
  return {
    name: json.text('name'),
    role: json.oneOf('role', roles),
    suspended,
    forceIoFailures: json.has('force-io-failures') && json.boolean('force-io-failures'),
    volumes: volumes.toSorted(byVolume),
    connections: connections.toSorted(byPeerNodeId),
  }
}

const readVolume = (json: JsonReader): Volume => ({
  volume: json.number('volume'),
  minor: json.number('minor'),
  diskState: json.oneOf('disk-state', diskStates),
  isClient: json.boolean('client'),
  hasQuorum: json.boolean('quorum'),
  upperPending: json.statistic('upper-pending'),
})

function readConnection(json: JsonReader): Connection {
  const volumes = json.objects('peer_devices').map(readPeerVolume)
  return {
    peer: json.text('name'),
    peerNodeId: json.number('peer-node-id'),
    connectionState: json.oneOf('connection-state', connectionStates),
    peerRole: json.oneOf('peer-role', roles),
    volumes: refuseTwins('status', `${json.path}.peer_devices`, volumes, ({ volume }) => volume).toSorted(byVolume),
  }
}

const readPeerVolume = (json: JsonReader): PeerVolume => ({
  volume: json.number('volume'),
  replicationState: json.oneOf('replication-state', replicationStates),
  peerDiskState: json.oneOf('peer-disk-state', diskStates),
  isPeerClient: json.boolean('peer-client'),
  resyncSuspended: json.text('resync-suspended'),
  outOfSyncKib: json.statistic('out-of-sync'),
})
