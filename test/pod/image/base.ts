/** The image that the Dockerfile builds on: pulled where a registry is at hand, else made by debootstrap under the same name. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Buildah, run, type Tell } from './run.ts'

const PULL_LIMIT_MS = 30_000
/** Of a minimal system while it is made. */
const NEEDED_BYTES = 1024 ** 3

/** `debian:bookworm-slim` as buildah calls it. */
const fullName = (image: string): string => `docker.io/library/${image}`

export const suiteOf = (image: string): string => {
  const [, suite] = /^debian:([a-z]+)-slim$/.exec(image) ?? []
  if (suite === undefined) throw new Error(`the base is ${image}, but debootstrap only makes debian:SUITE-slim`)
  return suite
}

/** In memory where there is enough: dpkg waits for the disk after each file. */
function roomyFolder(otherwise: string): string {
  const memory = '/dev/shm'
  try {
    const { bavail, bsize } = statfsSync(memory)
    return bavail * bsize > NEEDED_BYTES ? memory : otherwise
  } catch {
    return otherwise
  }
}

/** What Debian's own slim image has besides a minimal system: sources with security updates, no manuals, no caches of apt, and a dpkg that does not wait for the disk. */
function slimDown(system: string, suite: string): void {
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg'
  const source = (path: string, suites: string): string =>
    `Types: deb\nURIs: http://deb.debian.org/${path}\nSuites: ${suites}\nComponents: main\nSigned-By: ${keyring}\n`
  rmSync(join(system, 'etc/apt/sources.list'))
  const sources = [source('debian', `${suite} ${suite}-updates`), source('debian-security', `${suite}-security`)]
  writeFileSync(join(system, 'etc/apt/sources.list.d/debian.sources'), sources.join('\n'))
  const left = ['doc', 'info', 'locale', 'man'].map((name) => `/usr/share/${name}`)
  const rules = ['force-unsafe-io', ...left.map((path) => `path-exclude ${path}/*`), 'path-include /usr/share/doc/*/copyright']
  writeFileSync(join(system, 'etc/dpkg/dpkg.cfg.d/docker'), `${rules.join('\n')}\n`)
  writeFileSync(join(system, 'etc/apt/apt.conf.d/docker-clean'), 'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n')
  for (const path of [...left, '/var/lib/apt/lists', '/var/cache/apt/archives']) {
    rmSync(join(system, path), { recursive: true })
    mkdirSync(join(system, path))
  }
}

async function bootstrap(buildah: Buildah, image: string, archive: string, folder: string): Promise<void> {
  const suite = suiteOf(image)
  const work = mkdtempSync(join(roomyFolder(folder), 'roomfence-base-'))
  const remove = (): void => rmSync(work, { recursive: true, force: true })
  process.once('exit', remove)
  try {
    const system = join(work, 'system')
    await run('debootstrap', ['--variant=minbase', suite, system, archive])
    slimDown(system, suite)
    const container = await buildah(['from', 'scratch'])
    await buildah(['add', '--quiet', container, system, '/'])
    await buildah(['config', '--cmd', 'bash', '--env', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', container])
    await buildah(['commit', '--quiet', '--rm', container, fullName(image)])
  } finally {
    process.removeListener('exit', remove)
    remove()
  }
}

export async function ensureBase(buildah: Buildah, image: string, archive: string, folder: string, tell: Tell): Promise<void> {
  const recipe = createHash('sha256')
    .update(readFileSync(import.meta.filename))
    .update(image)
    .digest('hex')
  const made = join(folder, 'base')
  const isMade = existsSync(made) && readFileSync(made, 'utf8') === recipe
  if (isMade && (await buildah(['images', '--quiet', fullName(image)]).catch(() => '')) !== '') return
  try {
    await buildah(['pull', '--quiet', '--policy', 'always', fullName(image)], { limitMs: PULL_LIMIT_MS })
    tell(`${image} is pulled`)
  } catch {
    tell(`no registry gives ${image}: debootstrap makes it from ${new URL(archive).host}`)
    await bootstrap(buildah, image, archive, folder)
  }
  writeFileSync(made, recipe)
}

export const dockerfileBase = (dockerfile: string): string => {
  const [, base] = /^ARG BASE_IMAGE=(\S+)$/m.exec(readFileSync(dockerfile, 'utf8')) ?? []
  if (base === undefined) throw new Error(`${dockerfile} names no BASE_IMAGE to build on`)
  return base
}
