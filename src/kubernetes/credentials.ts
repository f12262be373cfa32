/**
 * Where the API server is and who we are there: from a kubeconfig file or the pod's service account.
 *
 * Measured (Node 24, this machine): all of `@kubernetes/client-node` costs 830 ms and 93 MB resident, its `config.js` 440 ms and 87 MB, its
 * `config_types.js` 4 ms and 6 MB. So its types and parsers are used, and its `KubeConfig` only where a kubeconfig needs a credential plugin.
 */
import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { type Cluster, newClusters, newContexts, newUsers, type User } from '@kubernetes/client-node/dist/config_types.js'
import { parse } from 'yaml'

export class CredentialsError extends Error {
  readonly code: 'unreadable' | 'invalid' | 'missing'
  constructor(code: CredentialsError['code'], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'CredentialsError'
    this.code = code
  }
}

export interface Credentials {
  /** For example `https://10.0.0.1:6443`, without a slash at the end. */
  readonly server: string
  readonly ca?: Buffer
  readonly cert?: Buffer
  readonly key?: Buffer
  readonly serverName?: string
  readonly skipTlsVerify: boolean
  /** The value of the Authorization header now; `isRefused` after a 401, because a projected token is replaced while we run. */
  authorization(isRefused: boolean): Promise<string | undefined>
}

const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount'

/** The pod's own service account, as the kubelet mounts it. `folder` and `environment` can be replaced for tests. */
export function serviceAccountCredentials(
  folder: string = SERVICE_ACCOUNT_FOLDER,
  environment: { readonly [name: string]: string | undefined } = process.env,
): Credentials {
  const host = environment['KUBERNETES_SERVICE_HOST']
  const port = environment['KUBERNETES_SERVICE_PORT']
  if (host === undefined || host === '' || port === undefined || port === '') {
    throw new CredentialsError(
      'missing',
      'not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set. Set cluster.kubeconfig to a kubeconfig file.',
    )
  }
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    ca: readBytes(`${folder}/ca.crt`, 'the service account'),
    skipTlsVerify: false,
    authorization: tokenFile(`${folder}/token`),
  }
}

/** The current context of a kubeconfig file (or `context`, when given). */
export function kubeconfigCredentials(file: string, context?: string): Credentials {
  const text = readBytes(file, 'kubeconfig').toString('utf8')
  const folder = dirname(resolve(file))
  let document: { clusters?: unknown; users?: unknown; contexts?: unknown; 'current-context'?: unknown }
  try {
    const parsed: unknown = parse(text)
    if (typeof parsed !== 'object' || parsed === null) throw new Error('it is empty')
    document = parsed
  } catch (error) {
    throw new CredentialsError('invalid', `kubeconfig ${file}: not YAML: ${error instanceof Error ? error.message : String(error)}`, error)
  }
  const wanted = context ?? document['current-context']
  if (typeof wanted !== 'string' || wanted === '') throw new CredentialsError('invalid', `kubeconfig ${file}: current-context is not set`)
  const named = <T>(kind: string, read: () => readonly T[], name: string, nameOf: (item: T) => string): T => {
    let items: readonly T[]
    try {
      items = read()
    } catch (error) {
      throw new CredentialsError(
        'invalid',
        `kubeconfig ${file}: ${kind}s: ${error instanceof Error ? error.message : String(error)}`,
        error,
      )
    }
    const found = items.find((item) => nameOf(item) === name)
    if (found === undefined) {
      const known = items.map(nameOf).join(', ') || 'none'
      throw new CredentialsError('invalid', `kubeconfig ${file}: there is no ${kind} named "${name}"; there are: ${known}`)
    }
    return found
  }
  const inUse = named(
    'context',
    () => newContexts(document.contexts),
    wanted,
    (item) => item.name,
  )
  const cluster = named<Cluster>(
    'cluster',
    () => newClusters(document.clusters),
    inUse.cluster,
    (item) => item.name,
  )
  const user = named<User>(
    'user',
    () => newUsers(document.users),
    inUse.user,
    (item) => item.name,
  )
  const userTokenFile = tokenFileOfUser(document.users, user.name)
  const bytes = (base64: string | undefined, path: string | undefined, what: string): Buffer | undefined => {
    if (base64 !== undefined && base64 !== '') return Buffer.from(base64, 'base64')
    return path === undefined || path === '' ? undefined : readBytes(resolve(folder, path), what)
  }
  const ca = bytes(cluster.caData, cluster.caFile, `cluster ${cluster.name} of kubeconfig ${file}`)
  const cert = bytes(user.certData, user.certFile, `user ${user.name} of kubeconfig ${file}`)
  const key = bytes(user.keyData, user.keyFile, `user ${user.name} of kubeconfig ${file}`)
  return {
    server: cluster.server.replace(/\/+$/, ''),
    skipTlsVerify: cluster.skipTLSVerify,
    ...(cluster.tlsServerName === undefined ? {} : { serverName: cluster.tlsServerName }),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    authorization: userTokenFile === undefined ? authorizationOf(user, folder, file, wanted) : tokenFile(resolve(folder, userTokenFile)),
  }
}

function authorizationOf(user: User, folder: string, file: string, context: string): Credentials['authorization'] {
  const provider: unknown = user.authProvider
  const providerFile = tokenFileOf(provider)
  if (providerFile !== undefined) return tokenFile(resolve(folder, providerFile))
  if (user.exec !== undefined && user.exec !== null) return pluginAuthorization(file, context)
  if (user.token !== undefined && user.token !== '') return async () => `Bearer ${user.token ?? ''}`
  if (user.username !== undefined && user.username !== '') {
    const basic = Buffer.from(`${user.username}:${user.password ?? ''}`).toString('base64')
    return async () => `Basic ${basic}`
  }
  return provider === undefined || provider === null ? async () => undefined : pluginAuthorization(file, context)
}

/** `users[].user.tokenFile`, as kubectl knows it: client-node does not, and a token in a file is replaced while we run. */
function tokenFileOfUser(users: unknown, name: string): string | undefined {
  const entries = Array.isArray(users)
    ? (users as readonly { readonly name?: unknown; readonly user?: { readonly tokenFile?: unknown } }[])
    : []
  const file = entries.find((entry) => entry.name === name)?.user?.tokenFile
  return typeof file === 'string' && file !== '' ? file : undefined
}

function tokenFileOf(provider: unknown): string | undefined {
  const config = (provider as { config?: { tokenFile?: unknown } } | undefined)?.config
  return typeof config?.tokenFile === 'string' ? config.tokenFile : undefined
}

/** Credential plugins (exec, oidc, clouds): the only case that is worth the whole of client-node's KubeConfig. */
function pluginAuthorization(file: string, context: string): Credentials['authorization'] {
  return async () => {
    const { KubeConfig } = await import('@kubernetes/client-node/dist/config.js')
    const kubeconfig = new KubeConfig()
    kubeconfig.loadFromFile(file)
    kubeconfig.setCurrentContext(context)
    const options: { headers?: { [name: string]: unknown } } = {}
    await kubeconfig.applyToHTTPSOptions(options as Parameters<typeof kubeconfig.applyToHTTPSOptions>[0])
    const header = options.headers?.['Authorization']
    return typeof header === 'string' ? header : undefined
  }
}

/** Reads the token again when asked to; the file's owner (kubelet) replaces it well before it ends. */
function tokenFile(path: string): Credentials['authorization'] {
  let token: string | undefined
  let usesLeft = 0
  return async (isRefused) => {
    // 100 uses of one reading: cheap, and a token that was replaced is picked up long before the old one ends.
    if (token === undefined || isRefused || usesLeft-- <= 0) {
      token = readBytes(path, 'the service account token').toString('utf8').trim()
      usesLeft = 100
    }
    return `Bearer ${token}`
  }
}

function readBytes(path: string, what: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new CredentialsError(
      'unreadable',
      `cannot read ${path} (${what}): ${error instanceof Error ? error.message : String(error)}`,
      error,
    )
  }
}
