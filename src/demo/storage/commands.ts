/** drbdsetup's commands as the demo's kernel carries them out: arguments in, exit code and output out, as recorded. */
import { showObject, statusObject, statusText } from './render.ts'
import type { Resource } from './device.ts'
import type { Refusal } from './state.ts'

export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const ok: CommandResult = { code: 0, stdout: '', stderr: '' }
const usage = (text: string): CommandResult => ({ code: 20, stdout: '', stderr: `${text}\n` })

function refused(resource: Resource, refusal: Refusal): CommandResult {
  if (refusal.code > 0) return { code: 10, stdout: '', stderr: `${resource.config.name}: Failure: (${refusal.code}) ${refusal.text}\n` }
  const opener = resource.openers()[0]
  const detail =
    refusal.code === -12 && opener !== undefined
      ? `additional info from kernel:\ndrbd${resource.config.minor} opened by ${opener.command} (pid ${opener.pid}) at ${opener.openedAt.toISOString().replace('T', ' ').replace('Z', '')}\n`
      : ''
  return { code: 11, stdout: '', stderr: `${resource.config.name}: State change failed: (${refusal.code}) ${refusal.text}\n${detail}` }
}

const outcome = (resource: Resource, refusal: Refusal | undefined): CommandResult =>
  refusal === undefined ? ok : refused(resource, refusal)

/** Carries out one command line of drbdsetup, everything but `events2`. */
export async function runCommand(resources: ReadonlyMap<string, Resource>, argv: readonly string[]): Promise<CommandResult> {
  const options = argv.filter((word) => word.startsWith('--'))
  const [command, name, peerNodeId] = argv.filter((word) => !word.startsWith('-'))
  if (options.includes('--version')) {
    return {
      code: 0,
      stdout: 'DRBDADM_BUILDTAG=stand-in\nDRBD_KERNEL_VERSION_CODE=0x090212\nDRBD_KERNEL_VERSION=9.2.18\nDRBDADM_VERSION=9.34.0\n',
      stderr: '',
    }
  }
  if (command === 'status' || command === 'show') {
    const found = name === undefined ? [...resources.values()] : [...resources.values()].filter(({ config }) => config.name === name)
    const missing = name !== undefined && found.length === 0
    const stderr = missing ? `${name}: No such resource\n` : ''
    const render = command === 'status' ? statusObject : showObject
    const stdout = options.includes('--json') ? `${JSON.stringify(found.map(render), null, 2)}\n` : found.map(statusText).join('\n')
    return { code: missing ? 10 : 0, stdout: missing && options.includes('--json') ? '[\n]\n' : stdout, stderr }
  }
  if (command === undefined) return usage('no command given')
  if (name === undefined) return usage(`${command}: an argument is missing`)
  if (command === 'resume-io' || command === 'outdate') {
    const resource = [...resources.values()].find(({ config }) => String(config.minor) === name)
    if (resource === undefined) return { code: 10, stdout: '', stderr: `${name}: Failure: (127) Device minor not allocated\n` }
    if (command === 'outdate') return outcome(resource, resource.outdate())
    resource.resumeIo()
    return ok
  }
  const resource = resources.get(name)
  if (resource === undefined) return { code: 10, stdout: '', stderr: `${name}: Failure: (158) Unknown resource\n` }
  if (command === 'primary') return outcome(resource, await resource.promote(options.includes('--force')))
  if (command === 'secondary') return outcome(resource, resource.demote(options.includes('--force')))
  if (command === 'connect' || command === 'disconnect' || command === 'net-options') {
    if (peerNodeId === undefined) return usage(`${command}: the peer's node id is missing`)
    if (peerNodeId !== String(resource.config.peer.nodeId)) {
      return { code: 10, stdout: '', stderr: `${name}: Failure: (162) Invalid configuration request\n` }
    }
    if (command === 'connect') return outcome(resource, resource.connect(options.includes('--discard-my-data')))
    if (command === 'disconnect') {
      await resource.disconnect(options.includes('--force'))
      return ok
    }
    const fencing = options.find((word) => word.startsWith('--fencing='))?.slice('--fencing='.length)
    if (fencing !== 'dont-care' && fencing !== 'resource-and-stonith')
      return usage('net-options: the stand-in knows --fencing=dont-care|resource-and-stonith only')
    resource.setFencing(fencing)
    return ok
  }
  return usage(`${command}: unknown command of the drbdsetup stand-in`)
}
