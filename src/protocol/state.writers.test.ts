/**
 * Which file writes which field of the state. A file that writes a field for the first time, and a field that is new, are entered here, knowingly: what
 * becomes of it when an epoch is learned, and when the process is started anew, is decided by the group that it is in.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'

const writers: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  // Each by `changeDurable`, which gives the whole to the disk.
  durable: {
    membership: ['learning'],
    promised: ['acceptor', 'learning'],
    accepted: ['acceptor', 'learning'],
    round: ['acceptor', 'proposer'],
    installedEpoch: ['learning'],
    killedEpoch: ['running'],
    freedEpoch: ['running'],
    witnessSeen: ['witness-view'],
    bootId: ['running'],
  },
  disk: {
    version: ['outbox'],
    persistedVersion: ['outbox'],
    failure: ['outbox'],
    unsent: ['outbox'],
  },
  process: {
    broken: ['running'],
    random: ['proposer'],
    lastTickMs: ['step'],
    awakeSinceMs: ['learning', 'step'],
    contacts: ['contact'],
    joins: ['learning', 'step'],
    doorsAskedAtMs: ['step'],
    sentAtMs: ['step'],
    sequence: ['step'],
    heartbeatAtMs: ['learning', 'running', 'step'],
    withdrawal: ['step'],
    isLeaving: ['running', 'step'],
    nextAttemptAtMs: ['acceptor', 'proposal', 'proposer'],
    proposalKey: ['proposal'],
    proposalSinceMs: ['proposal'],
    lastVeto: ['proposal', 'proposer'],
    hasHadPermit: ['running'],
    quarantine: ['running'],
    desired: ['running'],
    desiredSinceMs: ['running'],
    contained: ['running', 'step'],
    isApiReachable: ['step'],
    watchdogMs: ['running', 'step'],
    isInSync: ['step'],
  },
  contact: {
    heardAtMs: ['step'],
    storageAtMs: ['step'],
    ackedAtMs: ['step'],
    statement: ['step'],
    incarnation: ['step'],
    epoch: ['step'],
    digest: ['step'],
    inSyncSinceMs: ['learning', 'step'],
    learnSentAtMs: ['learning'],
  },
  witness: {
    register: ['witness-view'],
    ackedAtMs: ['witness-view'],
    answeredAtMs: ['witness-view'],
    currentSinceMs: ['witness-view'],
    seenAtMs: ['witness-view'],
    isStale: ['witness-view'],
    askedAtMs: ['learning', 'witness-view'],
    nextId: ['proposer'],
    pending: ['proposer', 'witness-view'],
    failure: ['witness-view'],
  },
  // Made by `learning` when an epoch is learned; here, who changes it afterwards.
  epoch: {
    isInstalled: ['learning'],
    installedAtMs: ['learning'],
    grants: ['permit', 'running'],
    carriedUntilMs: [],
    attempt: ['proposer'],
    failedAttempts: ['proposer'],
    acceptedSinceMs: ['acceptor'],
    registerAcceptedSinceMs: ['witness-view'],
    hasConflict: ['learning'],
  },
  fence: {
    floorMs: ['proof'],
    doors: ['proof'],
    witnessDoorAtMs: ['proposer', 'witness-view'],
    confirmedBy: ['step'],
  },
  attempt: {
    phase: ['proposer'],
    phaseAtMs: ['proposer'],
    value: ['proposer'],
    highest: ['proposer'],
    hasAdopted: ['proposer'],
    asked: ['proposer'],
    promises: ['proposer'],
    unbound: ['proposer'],
    ruledOut: ['proposer'],
    accepts: ['proposer'],
    witnessRequestId: ['proposer'],
    swappedAtMs: ['proposer'],
  },
  requests: {
    unfence: ['learning', 'step'],
    confirmedDead: ['learning', 'step'],
    suspension: ['step'],
    maintenance: ['step'],
  },
}

const folder = new URL('./', import.meta.url)
const sources = readdirSync(folder)
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
  .map((name) => ({ name: name.replace(/\.ts$/, ''), text: readFileSync(new URL(name, folder), 'utf8') }))

/** `owner.field = x`, `owner.field.set(x)`: who changes a field names what it belongs to right before it. */
const WRITE =
  /\b(disk|process|contact|witness|epoch|fence|attempt|requests)\.(\w+)(?: (?:[-+?|&*]*)= |\.(?:set|delete|clear|add|push|splice)\()/g
const CHANGE = /changeDurable\(state, out, \{([^;]*?)\}\)/gs
const CONTACT = /contactOf\(state, \w+\)\.(\w+) = /g

function found(): ReadonlyMap<string, readonly string[]> {
  const writes = new Map<string, Set<string>>()
  const add = (owner: string, field: string, file: string): void => {
    const key = `${owner}.${field}`
    writes.set(key, (writes.get(key) ?? new Set()).add(file))
  }
  for (const { name, text } of sources) {
    for (const [, owner = '', field = ''] of text.matchAll(WRITE)) add(owner, field, name)
    for (const [, field = ''] of text.matchAll(CONTACT)) add('contact', field, name)
    for (const [, change = ''] of text.matchAll(CHANGE))
      for (const [, field = ''] of change.replace(/: \{[^}]*\}/g, '').matchAll(/(?:^|,)\s*(\w+)(?=[:,]|\s*$)/g)) add('durable', field, name)
    // The one map that is handed to who changes it.
    if (/\bgrants\.set\(/.test(text)) add('epoch', 'grants', name)
  }
  return new Map([...writes].map(([key, files]) => [key, [...files].toSorted()]))
}

it('is what the table says', () => {
  const expected = Object.entries(writers).flatMap(([owner, fields]) =>
    Object.entries(fields).flatMap(([field, files]) => (files.length === 0 ? [] : [[`${owner}.${field}`, files] as const])),
  )
  expect(Object.fromEntries(found())).toEqual(Object.fromEntries(expected))
})

it.each([
  ['state', 'Durable', 'durable'],
  ['state', 'DiskState', 'disk'],
  ['process', 'ProcessState', 'process'],
  ['process', 'Contact', 'contact'],
  ['process', 'WitnessView', 'witness'],
  ['epoch', 'EpochState', 'epoch'],
  ['epoch', 'FenceView', 'fence'],
  ['epoch', 'Attempt', 'attempt'],
  ['state', 'Requests', 'requests'],
])('in %s.ts, is said of every field of %s that may change', (file, type, owner) => {
  const [, body = ''] =
    new RegExp(`export interface ${type} \\{\n(.*?)\n\\}`, 's').exec(sources.find(({ name }) => name === file)?.text ?? '') ?? []
  // What is readonly may change only inside: a map or a set, and what is on disk is exchanged as a whole.
  const fields = [...body.matchAll(/^ {2}(readonly )?(\w+): ?(.*)$/gm)]
    .filter(([, isReadonly, , what = '']) => owner === 'durable' || !isReadonly || /^(Map|Set)<|\[\]$/.test(what) || what === '')
    .map(([, , name = '']) => name)
  expect(fields.length).toBeGreaterThan(0)
  expect(fields.toSorted()).toEqual(Object.keys(writers[owner] ?? {}).toSorted())
})
