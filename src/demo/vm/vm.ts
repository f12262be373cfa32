/**
 * A small virtual machine: a process that writes numbered records to its volume and remembers, as a client outside would, which were acknowledged.
 * Imports node: modules only: a dozen of them start at once on two cores, each from a stripped copy of this very file.
 */
import { openSync, writeSync } from 'node:fs'
import { connect } from 'node:net'

/**
 * One line of the observer's log, JSON. `opened` tells what the machine found on its volume, `acknowledged` that the volume confirmed a record.
 * A pod with a volume that is no virtual machine writes in the same way; its `vm` is `namespace/name`.
 * Times are milliseconds of the machine's monotonic clock, which all processes share.
 */
export type VmEvent =
  | {
      readonly type: 'opened'
      readonly atMs: number
      readonly vm: string
      readonly instance: string
      readonly node: string
      readonly disk: string
      /** The last number on the volume, 0 when it is empty. */
      readonly lastNumber: number
      /** Whether the numbers on the volume run from 1 without a gap. */
      readonly isComplete: boolean
    }
  | {
      readonly type: 'acknowledged'
      readonly atMs: number
      readonly vm: string
      readonly instance: string
      readonly node: string
      readonly number: number
    }
  /** Written by the node's supervisor: the copy's process ended while its node went on. */
  | {
      readonly type: 'ended'
      readonly atMs: number
      readonly vm: string
      readonly instance: string
      readonly node: string
    }

interface VmOptions {
  readonly vm: string
  /** The uid of this copy: no two processes share one. */
  readonly instance: string
  readonly node: string
  readonly resource: string
  readonly kernelSocket: string
  readonly observerLog: string
  readonly intervalMs: number
}

/** Exit codes: the volume refused to be opened for writing; a write failed. */
const exitCodes = { refused: 30, ioError: 5 } as const

interface Answer {
  readonly ok?: boolean
  readonly error?: string
  readonly reason?: string
  readonly disk?: string
  readonly content?: string
}

const monotonicMs = (): number => Number(process.hrtime.bigint() / 1000n) / 1000

function readVolume(content: string, vm: string): { lastNumber: number; isComplete: boolean } {
  let lastNumber = 0
  let isComplete = true
  for (const line of content.split('\n')) {
    if (line === '') continue
    const [owner, , number] = line.split(' ')
    if (owner !== vm || Number(number) !== lastNumber + 1) isComplete = false
    lastNumber = Number(number)
  }
  return { lastNumber, isComplete }
}

function run(options: VmOptions): void {
  const { vm, instance, node } = options
  const log = openSync(options.observerLog, 'a')
  const tell = (event: VmEvent): void => {
    writeSync(log, `${JSON.stringify(event)}\n`)
  }
  const leave = (code: number, reason: string): never => {
    process.stderr.write(`${reason}\n`)
    process.exit(code)
  }
  const device = connect(options.kernelSocket)
  device.setEncoding('utf8')
  device.on('error', (error) => leave(exitCodes.refused, `${options.resource}: ${error.message}`))
  device.on('close', () => leave(exitCodes.ioError, `${options.resource}: the device went away`))
  let answered: (answer: Answer) => void = () => undefined
  let rest = ''
  device.on('data', (chunk) => {
    const lines = (rest + String(chunk)).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) answered(JSON.parse(line) as Answer)
  })
  const ask = (request: unknown): Promise<Answer> =>
    new Promise((resolve) => {
      answered = resolve
      device.write(`${JSON.stringify(request)}\n`)
    })

  const write = async (number: number): Promise<void> => {
    const answer = await ask({ type: 'write', line: `${vm} ${instance} ${number}` })
    if (answer.ok !== true) leave(exitCodes.ioError, `${options.resource}: write of record ${number} failed: ${answer.error ?? 'unknown'}`)
    tell({ type: 'acknowledged', atMs: monotonicMs(), vm, instance, node, number })
    setTimeout(() => void write(number + 1), options.intervalMs)
  }

  const start = async (): Promise<void> => {
    const opened = await ask({ type: 'open', resource: options.resource, command: `qemu-${vm}`, pid: process.pid })
    if (opened.ok !== true) leave(exitCodes.refused, `${options.resource}: ${opened.error ?? 'refused'}: ${opened.reason ?? ''}`)
    const volume = readVolume((await ask({ type: 'read' })).content ?? '', vm)
    tell({ type: 'opened', atMs: monotonicMs(), vm, instance, node, disk: opened.disk ?? 'unknown', ...volume })
    process.stdout.write('running\n')
    await write(volume.lastNumber + 1)
  }

  process.on('SIGTERM', () => process.exit(0))
  // The node's supervisor holds the other end; without it nobody could stop this machine.
  process.stdin.on('end', () => process.exit(0)).resume()
  void start()
}

const given = process.argv[2]
if (given !== undefined && /\bvm\.m?[jt]s$/.test(process.argv[1] ?? '')) run(JSON.parse(given) as VmOptions)
