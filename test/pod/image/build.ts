/** Builds the image with buildah, as `docker build` would, and unpacks it. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { dockerfileBase, ensureBase, suiteOf } from './base.ts'
import { root } from './inputs.ts'
import { machineSources } from './machine.ts'
import { type Buildah, buildahIn, run, type Tell } from './run.ts'

/** So many images are kept, the newest: a branch's and that of where it came from. */
const KEPT = 3

const tagOf = (folder: string): string => `localhost/roomfence:${basename(folder)}`

async function unpack(buildah: Buildah, tag: string, folder: string): Promise<void> {
  const partial = `${folder}.partial`
  rmSync(partial, { recursive: true, force: true })
  mkdirSync(partial, { recursive: true })
  const container = await buildah(['from', '--pull-never', tag])
  try {
    const mounted = await buildah(['mount', container])
    await run('cp', ['-a', mounted, join(partial, 'rootfs')])
    const { OCIv1 } = JSON.parse(await buildah(['inspect', '--type', 'image', tag])) as { OCIv1: { config: object } }
    writeFileSync(join(partial, 'config.json'), JSON.stringify(OCIv1.config, undefined, 2))
  } finally {
    await buildah(['rm', container])
  }
  renameSync(partial, folder)
}

/** Older images go, and what of them is in buildah's storage. */
async function prune(buildah: Buildah, cache: string): Promise<void> {
  const images = readdirSync(cache)
    .filter((name) => /^[0-9a-f]{12}$/.test(name))
    .map((name) => ({ folder: join(cache, name), builtMs: statSync(join(cache, name)).mtimeMs }))
    .toSorted((a, b) => b.builtMs - a.builtMs)
  for (const { folder } of images.slice(KEPT)) {
    rmSync(folder, { recursive: true, force: true })
    await buildah(['rmi', tagOf(folder)]).catch(() => '')
  }
}

/** `folder` is named by the hash of what goes in; there already: nothing is done. */
export async function buildImage(folder: string, tell: Tell): Promise<void> {
  if (existsSync(join(folder, 'config.json'))) return
  const startedMs = performance.now()
  const cache = dirname(folder)
  const buildah = buildahIn(cache)
  const base = dockerfileBase(join(root, 'Dockerfile'))
  const { debian, buildArguments, caFile } = machineSources(suiteOf(base))
  await ensureBase(buildah, base, debian, cache, tell)
  const args = ['bud', '--layers', '--pull-never', '--isolation', 'chroot', '--network', 'host', '--format', 'oci', '--tag', tagOf(folder)]
  const given = Object.entries(buildArguments).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`])
  const secret = caFile === undefined ? [] : ['--secret', `id=ca,src=${caFile}`]
  const onLine = (line: string): void => {
    if (/^(?:\[\d+\/\d+\] )?STEP /.test(line)) tell(line.slice(0, 140))
  }
  await buildah([...args, ...given, ...secret, root], { onLine })
  await unpack(buildah, tagOf(folder), folder)
  await prune(buildah, cache)
  const bytes = Number((await run('du', ['-sbx', join(folder, 'rootfs')])).split('\t')[0])
  tell(`built in ${Math.round((performance.now() - startedMs) / 1000)} s, ${Math.round(bytes / 1e6)} MB: ${folder}`)
}
