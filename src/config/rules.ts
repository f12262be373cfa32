/** Rules that hold between fields; each says what it compares and why. Pure. */
import { isNodeName } from './fields.ts'
import type { Problem } from './errors.ts'
import type { Configuration } from './schema.ts'

type Timings = Configuration['timings']

interface TimingRule {
  readonly field: keyof Timings
  readonly isKept: (timings: Timings) => boolean
  readonly allowed: (timings: Timings) => string
}

const TIMING_RULES: readonly TimingRule[] = [
  {
    field: 'permitMs',
    isKept: (t) => t.permitMs >= 4 * t.heartbeatMs,
    allowed: (t) => `at least 4 * timings.heartbeatMs = ${4 * t.heartbeatMs}: a few lost heartbeats must not pause a node`,
  },
  {
    field: 'detectMs',
    isKept: (t) => t.detectMs >= 3 * t.heartbeatMs,
    allowed: (t) => `at least 3 * timings.heartbeatMs = ${3 * t.heartbeatMs}: one or two lost heartbeats are no silence`,
  },
  {
    field: 'detectMs',
    isKept: (t) => t.detectMs < t.permitMs,
    allowed: (t) => `less than timings.permitMs = ${t.permitMs}: the room that is cut off must be suspected before its permit ends anyway`,
  },
  {
    field: 'detectNodeMs',
    isKept: (t) => t.detectNodeMs >= t.detectMs,
    allowed: (t) => `at least timings.detectMs = ${t.detectMs}: a single node is suspected later than a room`,
  },
  {
    field: 'arbitrationDelayMs',
    isKept: (t) => t.arbitrationDelayMs < t.permitMs,
    allowed: (t) => `less than timings.permitMs = ${t.permitMs}: who waits longer has no permit left to ask with`,
  },
  {
    field: 'lingerMs',
    isKept: (t) => t.lingerMs >= 2 * t.heartbeatMs,
    allowed: (t) => `at least 2 * timings.heartbeatMs = ${2 * t.heartbeatMs}: a change that is just being made is not unfinished`,
  },
  {
    field: 'lateMs',
    isKept: (t) => t.lateMs < t.detectMs,
    allowed: (t) => `less than timings.detectMs = ${t.detectMs}: an agent that slept through the silence must notice`,
  },
  {
    field: 'witnessRecentMs',
    isKept: (t) => t.witnessRecentMs < t.witnessShiftMs,
    allowed: (t) => `less than timings.witnessShiftMs = ${t.witnessShiftMs}: else a vote shift is always vetoed`,
  },
  {
    field: 'witnessRecentMs',
    isKept: (t) => t.witnessRecentMs >= 2 * t.witnessReadMs,
    allowed: (t) => `at least 2 * timings.witnessReadMs = ${2 * t.witnessReadMs}: one lost read must not move votes`,
  },
]

const WILDCARDS = new Set(['0.0.0.0', '::', '[::]'])

function repeated(values: readonly string[]): readonly number[] {
  return values.flatMap((value, index) => (values.indexOf(value) < index ? [index] : []))
}

/** Problems between fields that are each right by themselves. */
export function brokenRules(configuration: Configuration): readonly Problem[] {
  const { timings, witness, paths, peerAddresses, containment, keys, node } = configuration
  const problems: Problem[] = TIMING_RULES.filter((rule) => !rule.isKept(timings)).map((rule) => ({
    path: `timings.${rule.field}`,
    seen: String(timings[rule.field]),
    allowed: rule.allowed(timings),
  }))
  if (witness.kind === 'http' && timings.witnessReadMs + witness.timeoutMs >= timings.permitMs)
    problems.push({
      path: 'witness.timeoutMs',
      seen: String(witness.timeoutMs),
      allowed: `less than timings.permitMs - timings.witnessReadMs = ${timings.permitMs - timings.witnessReadMs}: one slow read must not end a permit`,
    })
  for (const index of repeated(paths.map((path) => path.name)))
    problems.push({
      path: `paths[${index}].name`,
      seen: JSON.stringify(paths[index]?.name),
      allowed: 'another name than the paths before it',
    })
  for (const index of repeated(paths.map((path) => `${path.listenHost} ${path.listenPort}`)))
    problems.push({
      path: `paths[${index}].listenPort`,
      seen: String(paths[index]?.listenPort),
      allowed: 'another address or port than the paths before it',
    })
  paths.forEach((path, index) => {
    const advertised = path.advertiseHost ?? path.listenHost
    if (WILDCARDS.has(advertised))
      problems.push({
        path: `paths[${index}].advertiseHost`,
        seen: path.advertiseHost === undefined ? 'nothing' : JSON.stringify(path.advertiseHost),
        allowed: `the address under which others reach this node, as listenHost ${path.listenHost} is a wildcard`,
      })
  })
  for (const [peer, addresses] of Object.entries(peerAddresses)) {
    if (!isNodeName(peer))
      problems.push({ path: 'peerAddresses', seen: JSON.stringify(peer), allowed: 'node names as Kubernetes has them' })
    if (peer === node) problems.push({ path: `peerAddresses.${peer}`, seen: 'this node itself', allowed: 'other nodes' })
    addresses.forEach((address, index) => {
      if (!paths.some((path) => path.name === address.path))
        problems.push({
          path: `peerAddresses.${peer}[${index}].path`,
          seen: JSON.stringify(address.path),
          allowed: `a path of this node: ${paths.map((path) => path.name).join(', ')}`,
        })
    })
  }
  if (keys.previousFile === keys.file)
    problems.push({ path: 'keys.previousFile', seen: 'the same file as keys.file', allowed: 'another file, or nothing' })
  if (containment.rebootMethod === 'command' && containment.rebootCommand.length === 0)
    problems.push({
      path: 'containment.rebootCommand',
      seen: 'an empty list',
      allowed: 'a program and its arguments, as containment.rebootMethod is command',
    })
  return problems
}

/**
 * Whether the watchdog's real timeout goes together with the timings; the device is asked at start, so it is no rule of the file.
 *
 * @returns the problem in words; undefined when there is none.
 */
export function watchdogProblem(timings: Timings, timeoutMs: number): string | undefined {
  const leastMs = 2 * timings.heartbeatMs + timings.lateMs
  if (timeoutMs >= leastMs) return undefined
  return `the watchdog resets this node after ${timeoutMs} ms; allowed: at least 2 * timings.heartbeatMs + timings.lateMs = ${leastMs} ms, else a slow moment of the agent reboots a healthy node`
}
