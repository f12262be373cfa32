/**
 * The programs of a real control plane, built from Go modules once and kept.
 *
 * Where they are looked for: `KUBEBUILDER_ASSETS` (envtest's convention), then `$ROOMFENCE_LAB_CACHE/bin`, else
 * `$XDG_CACHE_HOME/roomfence-lab/bin`, else `~/.cache/roomfence-lab/bin`; what is in none is built there with Go.
 * One binary plays several programs by the name it is called by, so a build is one link step and some symbolic links.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { accessSync, constants, existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

interface Build {
  readonly source: 'kube' | 'kubevirt' | 'helm'
  /** A program of another module, where `source` has none of its own. */
  readonly module?: string
  readonly ldflags: string
  readonly programs: readonly string[]
  readonly duration: string
}

const version = 'k8s.io/component-base/version'
const kube: Build = {
  source: 'kube',
  ldflags: `-X ${version}.gitVersion=v1.36.2 -X ${version}.gitMajor=1 -X ${version}.gitMinor=36 -X ${version}.gitTreeState=clean`,
  programs: ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubectl'],
  duration: 'about 6 minutes on two cores',
}
const kubevirt: Build = {
  source: 'kubevirt',
  ldflags: '',
  programs: ['virt-controller', 'virt-api', 'kubevirt-objects'],
  duration: 'about 3 minutes on two cores',
}

const helm: Build = {
  source: 'helm',
  module: 'helm.sh/helm/v4/cmd/helm',
  ldflags: '-X helm.sh/helm/v4/internal/version.version=v4.3.2',
  programs: ['helm'],
  duration: 'about 3 minutes on two cores',
}

/** Gives the full path of a program by its name. */
export type Programs = (name: string) => string

const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

export const cacheDirectory = (env: NodeJS.ProcessEnv = process.env): string =>
  env['ROOMFENCE_LAB_CACHE'] || join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'roomfence-lab')

const sourceDirectory = (build: Build): string => join(import.meta.dirname, build.source)

/** Same sources and flags, same name: an older build is never taken for a newer one. */
const binaryName = (build: Build): string => {
  const files = ['go.mod', 'main.go'].map((file) => join(sourceDirectory(build), file)).filter((file) => existsSync(file))
  const source = files.map((file) => readFileSync(file, 'utf8')).join('')
  return `${build.source}-${createHash('sha256').update(`${source}${build.ldflags}\n`).digest('hex').slice(0, 12)}`
}

const compile = async (build: Build, target: string, tell: (line: string) => void): Promise<void> => {
  if (spawnSync('go', ['version']).status !== 0)
    throw new Error(
      `the cluster tests need ${build.programs.join(', ')}: put Go 1.26 or newer on PATH and they are built once (${build.duration}), ` +
        `or set ${build === helm ? 'HELM to the program' : 'KUBEBUILDER_ASSETS to a folder that has them'}; ROOMFENCE_SKIP_CLUSTER=1 skips these tests outside CI`,
    )
  tell(`building ${build.programs.join(', ')} (${build.duration}, once)`)
  const partial = `${target}.${process.pid}`
  const args = ['build', '-v', '-trimpath', '-ldflags', `-s -w ${build.ldflags}`, '-o', partial, build.module ?? '.']
  const go = spawn('go', args, {
    cwd: sourceDirectory(build),
    env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=readonly' },
    stdio: ['ignore', 'inherit', 'pipe'],
  })
  const recent: string[] = []
  let packages = 0
  createInterface({ input: go.stderr }).on('line', (line) => {
    recent.push(line)
    if (recent.length > 20) recent.shift()
    if (++packages % 200 === 0) tell(`${packages} packages fetched or compiled`)
  })
  const stopGo = (): boolean => go.kill()
  process.once('exit', stopGo)
  const [code] = (await once(go, 'close')) as [number | null]
  process.removeListener('exit', stopGo)
  if (code !== 0) {
    rmSync(partial, { force: true })
    throw new Error(`go build of ${build.source} failed (code ${code}):\n${recent.join('\n')}`)
  }
  renameSync(partial, target)
  tell(`built ${target}`)
}

const builtDirectory = async (build: Build, tell: (line: string) => void): Promise<string> => {
  const bin = join(cacheDirectory(), 'bin')
  const name = binaryName(build)
  mkdirSync(bin, { recursive: true })
  if (!isExecutable(join(bin, name))) await compile(build, join(bin, name), tell)
  for (const program of build.programs) {
    const link = join(bin, program)
    const fresh = `${link}.${process.pid}`
    rmSync(fresh, { force: true })
    symlinkSync(name, fresh)
    renameSync(fresh, link)
  }
  return bin
}

const tellOnStderr = (line: string): void => void process.stderr.write(`control plane programs: ${line}\n`)

/** Helm by `HELM`, else built and kept. */
export const helmProgram = async (tell: (line: string) => void = tellOnStderr): Promise<string> =>
  process.env['HELM'] || join(await builtDirectory(helm, tell), 'helm')

/** Finds or builds the programs. Errors say what is missing and what to do. */
export const controlPlanePrograms = async (withKubeVirt: boolean, tell: (line: string) => void = tellOnStderr): Promise<Programs> => {
  const places = new Map<string, string>()
  const assets = process.env['KUBEBUILDER_ASSETS'] || undefined
  for (const build of withKubeVirt ? [kube, kubevirt] : [kube]) {
    const missing = assets === undefined ? build.programs : build.programs.filter((program) => !isExecutable(join(assets, program)))
    // envtest's own folder stops at etcd, kube-apiserver and kubectl; these tests need controllers and a scheduler, too
    if (assets !== undefined && missing.length > 0 && build === kube)
      tell(`KUBEBUILDER_ASSETS: ${assets} has no ${missing.join(', ')}; not used`)
    const directory = assets !== undefined && missing.length === 0 ? assets : await builtDirectory(build, tell)
    for (const program of build.programs) places.set(program, join(directory, program))
  }
  return (name) => {
    const path = places.get(name)
    if (path === undefined) throw new Error(`no program ${name} was asked for`)
    return path
  }
}
