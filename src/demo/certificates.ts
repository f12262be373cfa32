/**
 * Certificates for the demo and its tests, made in memory: one authority, and server and client certificates it signs.
 * The few DER structures of RFC 5280 are written out here, because no small library does it without a dozen others; OpenSSL's
 * reading of them (Node's TLS) is the test.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

export interface Credentials {
  readonly certificatePem: string
  readonly keyPem: string
}

export interface Authority {
  readonly certificatePem: string
  /** @param hosts DNS names and IPv4 addresses the server is reached by */
  server(commonName: string, hosts: readonly string[]): Credentials
  /** @param groups become the certificate's organizations: Kubernetes' groups, e.g. `system:masters` */
  client(commonName: string, groups?: readonly string[]): Credentials
}

const der = (tag: number, ...contents: readonly Buffer[]): Buffer => {
  const content = Buffer.concat(contents)
  if (content.length < 128) return Buffer.concat([Buffer.from([tag, content.length]), content])
  const length = Buffer.from(content.length.toString(16).padStart(content.length > 0xff ? 4 : 2, '0'), 'hex')
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, content])
}
const sequence = (...contents: readonly Buffer[]): Buffer => der(0x30, ...contents)
const octets = (content: Buffer): Buffer => der(0x04, content)
const bits = (content: Buffer, unused = 0): Buffer => der(0x03, Buffer.from([unused]), content)
const integer = (bytes: Buffer): Buffer => der(0x02, bytes)
const always = der(0x01, Buffer.from([0xff]))

function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const groups = [first * 40 + second, ...rest].flatMap((arc) => {
    const sevens = [arc & 0x7f]
    for (let left = arc >>> 7; left > 0; left >>>= 7) sevens.unshift((left & 0x7f) | 0x80)
    return sevens
  })
  return der(0x06, Buffer.from(groups))
}

/** Until 2050 X.509 wants the two-digit year. */
const utcTime = (date: Date): Buffer => der(0x17, Buffer.from(`${date.toISOString().slice(2, 19).replaceAll(/[-:T]/g, '')}Z`, 'ascii'))

const attribute = (id: string, value: string): Buffer => der(0x31, sequence(objectId(id), der(0x0c, Buffer.from(value, 'utf8'))))
const distinguishedName = (commonName: string, organizations: readonly string[] = []): Buffer =>
  sequence(...organizations.map((name) => attribute('2.5.4.10', name)), attribute('2.5.4.3', commonName))

const extension = (id: string, content: Buffer, isCritical = false): Buffer =>
  sequence(objectId(id), ...(isCritical ? [always] : []), octets(content))

const alternativeName = (host: string): Buffer =>
  /^\d+\.\d+\.\d+\.\d+$/.test(host) ? der(0x87, Buffer.from(host.split('.').map(Number))) : der(0x82, Buffer.from(host, 'ascii'))

const extensionIds = {
  basic: '2.5.29.19',
  usage: '2.5.29.15',
  purposes: '2.5.29.37',
  names: '2.5.29.17',
  self: '2.5.29.14',
  issuer: '2.5.29.35',
}
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const ecdsaWithSha256 = sequence(objectId('1.2.840.10045.4.3.2'))

interface Subject {
  readonly name: Buffer
  readonly publicKey: KeyObject
  readonly extensions: readonly Buffer[]
}

interface Issuer {
  readonly name: Buffer
  readonly privateKey: KeyObject
}

const DAY_MS = 86_400_000

function certificate(subject: Subject, issuer: Issuer, days: number): string {
  const now = Date.now()
  // From yesterday on, for hosts whose clocks differ; a positive serial number, as RFC 5280 asks.
  const validity = sequence(utcTime(new Date(now - DAY_MS)), utcTime(new Date(now + days * DAY_MS)))
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40
  const toSign = sequence(
    der(0xa0, integer(Buffer.from([2]))),
    integer(serial),
    ecdsaWithSha256,
    issuer.name,
    validity,
    subject.name,
    subject.publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...subject.extensions)),
  )
  const signed = sequence(toSign, ecdsaWithSha256, bits(sign('sha256', toSign, issuer.privateKey)))
  const lines = signed.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

const makeKeys = (): { publicKey: KeyObject; privateKey: KeyObject } => generateKeyPairSync('ec', { namedCurve: 'P-256' })
const keyId = (key: KeyObject): Buffer =>
  createHash('sha1')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest()

/** @param days validity from now */
export function createAuthority(commonName = 'roomfence demo', days = 30): Authority {
  const keys = makeKeys()
  const issuer = { name: distinguishedName(commonName), privateKey: keys.privateKey }
  const authorityKey = extension(extensionIds.issuer, sequence(der(0x80, keyId(keys.publicKey))))
  const root = {
    name: issuer.name,
    publicKey: keys.publicKey,
    extensions: [
      extension(extensionIds.basic, sequence(always), true),
      // keyCertSign and cRLSign
      extension(extensionIds.usage, bits(Buffer.from([0x06]), 1), true),
      extension(extensionIds.self, octets(keyId(keys.publicKey))),
    ],
  }

  function issue(name: Buffer, purpose: string, hosts: readonly string[]): Credentials {
    const { publicKey, privateKey } = makeKeys()
    const extensions = [
      extension(extensionIds.basic, sequence(), true),
      // digitalSignature
      extension(extensionIds.usage, bits(Buffer.from([0x80]), 7), true),
      extension(extensionIds.purposes, sequence(objectId(purpose))),
      authorityKey,
      ...(hosts.length === 0 ? [] : [extension(extensionIds.names, sequence(...hosts.map(alternativeName)))]),
    ]
    return {
      certificatePem: certificate({ name, publicKey, extensions }, issuer, days),
      keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    }
  }

  return {
    certificatePem: certificate(root, issuer, days),
    server: (name, hosts) => issue(distinguishedName(name), SERVER_AUTH, hosts),
    client: (name, groups = []) => issue(distinguishedName(name, groups), CLIENT_AUTH, []),
  }
}
