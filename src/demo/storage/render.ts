/** What drbdsetup prints: status (JSON of drbd-utils 9.34 and text), show, and the lines of events2, with the field names of the recordings. */
import type { Resource } from './device.ts'
import { claimsMayPromote, promotionScore, type ResourceState } from './state.ts'

/** Records count as 4 KiB blocks. */
const BLOCK_KIB = 4
const SIZE_KIB = 98_264

const yesNo = (value: boolean): string => (value ? 'yes' : 'no')

type Fields = Readonly<Record<string, string | number>>

interface EventObject {
  readonly kind: 'resource' | 'connection' | 'device' | 'peer-device' | 'path'
  readonly identity: Fields
  readonly fields: Fields
  readonly statistics: Fields
}

function eventObjects(resource: Resource, state: ResourceState): readonly EventObject[] {
  const { name, minor, peer, nodeId } = resource.config
  const peerIdentity = { name, 'peer-node-id': peer.nodeId, 'conn-name': peer.name }
  return [
    {
      kind: 'resource',
      identity: { name },
      fields: {
        role: state.role,
        suspended: state.suspendedFencing ? 'fencing' : 'no',
        'force-io-failures': yesNo(state.forceIoFailures),
      },
      statistics: { 'write-ordering': 'flush', may_promote: yesNo(claimsMayPromote(state)), promotion_score: promotionScore(state) },
    },
    {
      kind: 'connection',
      identity: peerIdentity,
      fields: { connection: state.connection, role: state.peerRole },
      statistics: { congested: 'no', 'ap-in-flight': state.pendingWrites * 8, 'rs-in-flight': 0 },
    },
    {
      kind: 'device',
      identity: { name, volume: 0, minor },
      fields: { backing_dev: `/dev/replica${minor}`, disk: state.disk, client: 'no', quorum: 'yes' },
      statistics: {
        size: SIZE_KIB,
        read: 0,
        written: (state.writtenWrites + state.receivedWrites) * BLOCK_KIB,
        'al-writes': 0,
        'bm-writes': 0,
        'upper-pending': state.pendingWrites,
        'lower-pending': 0,
        'al-suspended': 'no',
        blocked: state.suspendedFencing ? 'upper' : 'no',
      },
    },
    {
      kind: 'peer-device',
      identity: { ...peerIdentity, volume: 0 },
      fields: { replication: state.replication, 'peer-disk': state.peerDisk, 'peer-client': 'no', 'resync-suspended': 'no' },
      statistics: {
        received: state.receivedWrites * BLOCK_KIB,
        sent: state.sentWrites * BLOCK_KIB,
        'out-of-sync': state.outOfSyncWrites * BLOCK_KIB,
        pending: state.pendingWrites,
        unacked: 0,
      },
    },
    {
      kind: 'path',
      identity: { ...peerIdentity, local: `ipv4:127.0.0.1:${7000 + nodeId}`, peer: `ipv4:127.0.0.1:${7000 + peer.nodeId}` },
      fields: { established: yesNo(state.pathEstablished) },
      statistics: {},
    },
  ]
}

const words = (fields: Fields): string =>
  Object.entries(fields)
    .map(([key, value]) => ` ${key}:${value}`)
    .join('')

/** Keys that belong to the state although events2 prints them last. */
const alwaysShown = (object: EventObject): Fields =>
  object.kind === 'resource'
    ? { may_promote: object.statistics['may_promote'] ?? 'no', promotion_score: object.statistics['promotion_score'] ?? 0 }
    : {}

/** The `exists` lines of one resource, without time stamps. */
export function existingLines(resource: Resource, withStatistics: boolean): string[] {
  return eventObjects(resource, resource.state()).map(
    (object) =>
      `exists ${object.kind}${words(object.identity)}${words(object.fields)}${words(withStatistics ? object.statistics : alwaysShown(object))}`,
  )
}

/** The `change` lines between two states: identity and what changed, as events2 gives them; changes of statistics alone print nothing. */
export function changedLines(resource: Resource, before: ResourceState, after: ResourceState, withStatistics: boolean): string[] {
  const older = eventObjects(resource, before)
  const lines: string[] = []
  for (const [index, object] of eventObjects(resource, after).entries()) {
    const old = older[index]
    if (old === undefined) continue
    const fresh = Object.fromEntries(Object.entries(object.fields).filter(([key, value]) => old.fields[key] !== value))
    const promotion = words(alwaysShown(object)) === words(alwaysShown(old)) ? {} : alwaysShown(object)
    if (Object.keys(fresh).length + Object.keys(promotion).length === 0) continue
    const statistics = withStatistics && object.kind !== 'resource' && object.kind !== 'path' ? object.statistics : {}
    lines.push(`change ${object.kind}${words(object.identity)}${words({ ...fresh, ...promotion, ...statistics })}`)
  }
  return lines
}

/** `2026-11-23T06:26:43.279375+00:00`: wall clock with microseconds, as drbdsetup stamps it. */
export function eventStamp(now: Date): string {
  return now.toISOString().replace('Z', '000+00:00')
}

/** One element of `status --json --verbose --statistics`. */
export function statusObject(resource: Resource): unknown {
  const state = resource.state()
  const { name, minor, nodeId, peer } = resource.config
  return {
    name,
    'node-id': nodeId,
    role: state.role,
    suspended: state.suspendedFencing,
    'suspended-user': false,
    'suspended-no-data': false,
    'suspended-fencing': state.suspendedFencing,
    'suspended-quorum': false,
    'force-io-failures': state.forceIoFailures,
    'write-ordering': 'flush',
    devices: [
      {
        volume: 0,
        minor,
        'disk-state': state.disk,
        client: false,
        open: state.openers > 0,
        quorum: true,
        size: SIZE_KIB,
        read: 0,
        written: (state.writtenWrites + state.receivedWrites) * BLOCK_KIB,
        'al-writes': 0,
        'bm-writes': 0,
        'upper-pending': state.pendingWrites,
        'lower-pending': 0,
      },
    ],
    connections: [
      {
        'peer-node-id': peer.nodeId,
        name: peer.name,
        'connection-state': state.connection,
        congested: false,
        'peer-role': state.peerRole,
        tls: false,
        'ap-in-flight': state.pendingWrites * 8,
        'rs-in-flight': 0,
        paths: [
          {
            this_host: { address: '127.0.0.1', port: 7000 + nodeId, family: 'ipv4' },
            remote_host: { address: '127.0.0.1', port: 7000 + peer.nodeId, family: 'ipv4' },
            established: state.pathEstablished,
          },
        ],
        peer_devices: [
          {
            volume: 0,
            'replication-state': state.replication,
            'peer-disk-state': state.peerDisk,
            'peer-client': false,
            'resync-suspended': 'no',
            received: state.receivedWrites * BLOCK_KIB,
            sent: state.sentWrites * BLOCK_KIB,
            'out-of-sync': state.outOfSyncWrites * BLOCK_KIB,
            pending: state.pendingWrites,
            unacked: 0,
            'has-sync-details': false,
            'has-online-verify-details': false,
            'percent-in-sync': state.outOfSyncWrites === 0 ? 100 : 99.9,
          },
        ],
      },
    ],
  }
}

export function statusText(resource: Resource): string {
  const state = resource.state()
  const { name, minor, nodeId, peer } = resource.config
  return [
    `${name} node-id:${nodeId} role:${state.role} suspended:${state.suspendedFencing ? 'fencing' : 'no'}`,
    `    force-io-failures:${yesNo(state.forceIoFailures)}`,
    `  volume:0 minor:${minor} disk:${state.disk} backing_dev:/dev/replica${minor} quorum:yes`,
    `  ${peer.name} node-id:${peer.nodeId} connection:${state.connection} role:${state.peerRole} congested:no`,
    `    volume:0 replication:${state.replication} peer-disk:${state.peerDisk} resync-suspended:no`,
    '',
  ].join('\n')
}

/** One element of `show --json`; the defaults that roomfence looks at are always shown. */
export function showObject(resource: Resource): unknown {
  const { config } = resource
  const { nodeId, peer, minor } = config
  return {
    resource: config.name,
    options: {
      'on-no-data-accessible': 'io-error',
      'auto-promote': true,
      quorum: 'off',
      'on-suspended-primary-outdated': config.onSuspendedPrimaryOutdated,
    },
    _this_host: { 'node-id': nodeId, volumes: [{ volume_nr: 0, device_minor: minor, disk: `/dev/replica${minor}` }] },
    connections: [
      {
        path: { _this_host: `ipv4 127.0.0.1:${7000 + nodeId}`, _remote_host: `ipv4 127.0.0.1:${7000 + peer.nodeId}` },
        net: {
          transport: '',
          protocol: 'C',
          'connect-int': String(Math.ceil(config.connectIntMs / 1000)),
          'ping-int': String(Math.ceil(config.pingIntMs / 1000)),
          'ping-timeout': String(Math.ceil(config.pingTimeoutMs / 100)),
          'allow-two-primaries': config.allowTwoPrimaries,
          'rr-conflict': config.rrConflict,
          fencing: resource.state().fencing,
          _name: peer.name,
        },
        volumes: [{ volume_nr: 0, disk: { bitmap: true } }],
        _peer_node_id: peer.nodeId,
      },
    ],
  }
}
