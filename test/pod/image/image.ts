/**
 * The image of the Dockerfile, unpacked: built once, and again when anything changed that goes into it.
 *
 * Kept in `$ROOMFENCE_LAB_CACHE/image`, else `~/.cache/roomfence-lab/image`: `<hash>/rootfs` and `<hash>/config.json`, and buildah's own storage.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { cacheDirectory } from '../../cluster/build/programs.ts'
import { imageHash } from './inputs.ts'

/** As far as a container runtime reads it. */
export interface ImageConfig {
  readonly Entrypoint?: readonly string[]
  readonly Cmd?: readonly string[]
  readonly Env?: readonly string[]
  readonly User?: string
  readonly WorkingDir?: string
}

export interface PodImage {
  /** Never written to: containers lay their own folder over it. */
  readonly rootfs: string
  readonly config: ImageConfig
}

export const imageFolder = (): string => join(cacheDirectory(), 'image')

const unpacked = (folder: string): PodImage | undefined => {
  const file = join(folder, 'config.json')
  return existsSync(file) ? { rootfs: join(folder, 'rootfs'), config: JSON.parse(readFileSync(file, 'utf8')) as ImageConfig } : undefined
}

/** @throws with what is missing on this machine, or with the end of the build's output. */
export async function podImage(): Promise<PodImage> {
  const folder = join(imageFolder(), imageHash())
  const found = unpacked(folder)
  if (found !== undefined) return found
  mkdirSync(imageFolder(), { recursive: true })
  // One build at a time, whoever asks; the second finds what the first has made.
  const builder = spawn('flock', [join(imageFolder(), 'lock'), process.execPath, join(import.meta.dirname, 'main.ts')], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const stop = (): boolean => builder.kill()
  process.once('exit', stop)
  const [code] = (await once(builder, 'close')) as [number | null]
  process.removeListener('exit', stop)
  const built = unpacked(folder)
  if (code !== 0 || built === undefined) throw new Error('the image could not be built; the reason is above, in the output of the build')
  return built
}
