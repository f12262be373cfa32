/** What this machine is set up with for fetching packages, to be handed to a build: read from its own tools, never written down. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

export interface MachineSources {
  /** Has `dists/<suite>`, for debootstrap. */
  readonly debian: string
  /** Of the Dockerfile. */
  readonly buildArguments: Readonly<Record<string, string>>
  /** Certificates to trust, PEM. */
  readonly caFile: string | undefined
}

const usual = 'http://deb.debian.org'
const proxies = ['http_proxy', 'https_proxy', 'no_proxy'] as const

const said = (program: string, ...args: readonly string[]): string => {
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8', cwd: '/' })
  return status === 0 ? stdout.trim() : ''
}

/** npm prints `null` for what is not set. */
const npmSetting = (name: string): string | undefined => {
  const value = said('npm', 'config', 'get', name)
  return value === '' || value === 'null' || value === 'undefined' ? undefined : value
}

/** The first archive with that suite in `apt-get indextargets`, of which each line is `<uri> <suite> <component>`. */
export const archiveOf = (targets: string, suite: string): string | undefined =>
  targets
    .split('\n')
    .map((line) => line.split(' '))
    .find(([, release, component]) => release === suite && component === 'main')?.[0]
    ?.replace(/\/+$/, '')

/** `''` from a mirror that is the usual one, or that does not lie as the usual one does. */
export const mirrorArgument = (archive: string): string => {
  const root = archive.replace(/\/debian$/, '')
  return root === archive || root === usual ? '' : root
}

const proxyOf = (name: (typeof proxies)[number]): string | undefined => {
  const given = process.env[name] ?? process.env[name.toUpperCase()]
  if (given !== undefined && given !== '') return given
  if (name === 'http_proxy') return /^Acquire::http::Proxy "(.+)";$/m.exec(said('apt-config', 'dump', 'Acquire::http::Proxy'))?.[1]
  return name === 'https_proxy' ? npmSetting('https-proxy') : undefined
}

export function machineSources(suite: string): MachineSources {
  const targets = said('apt-get', 'indextargets', '--format', '$(REPO_URI) $(RELEASE) $(COMPONENT)', 'Created-By: Packages')
  const debian = archiveOf(targets, suite) ?? `${usual}/debian`
  const given = [
    ['DEBIAN_MIRROR', mirrorArgument(debian)],
    ['NPM_CONFIG_REGISTRY', npmSetting('registry')],
    ...proxies.flatMap((name) => [
      [name, proxyOf(name)],
      [name.toUpperCase(), proxyOf(name)],
    ]),
  ] as const
  const certificates = [npmSetting('cafile'), process.env['NODE_EXTRA_CA_CERTS'], process.env['SSL_CERT_FILE']]
  return {
    debian,
    buildArguments: Object.fromEntries(given.filter((pair): pair is [string, string] => pair[1] !== undefined && pair[1] !== '')),
    caFile: certificates.find((file) => file !== undefined && file !== '' && existsSync(file)),
  }
}
