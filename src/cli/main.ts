#!/usr/bin/env node
/** The commands. Each is loaded when it is called, so that the agent carries no simulator and the demo no agent. */
import { readFileSync } from 'node:fs'
import { CommanderError, Option } from 'commander'
import type { OperatorRequest } from '../agent/requests/request.ts'
import type { DemoCommand } from '../demo/demo.ts'
import type { SimulateCommand } from '../sim/command.ts'
import { aNumber, createProgram, names, wholeNumber } from './options.ts'

/** Put in by the build of the bundle, beside which no package.json lies. */
declare const BUNDLE_VERSION: string | undefined

const version = (): string => {
  if (typeof BUNDLE_VERSION === 'string') return BUNDLE_VERSION
  return (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version
}

/** Runs until a signal, then stops once; a second signal ends it at once. */
function untilSignal(stop: () => Promise<void>): void {
  let isStopping = false
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => {
      if (isStopping) process.exit(130)
      isStopping = true
      stop().then(
        () => process.exit(0),
        (error: unknown) => fail(error),
      )
    })
}

function fail(error: unknown): never {
  // Of an option whose value only the command itself can judge.
  if (error instanceof CommanderError) called.error(`error: ${error.message}`)
  const text = error instanceof Error ? `${error.name === 'Error' ? '' : `${error.name}: `}${error.message}` : String(error)
  process.stderr.write(`roomfence: ${text}\n`)
  process.exit(1)
}

const program = createProgram('roomfence')
  .description('Safe room fencing for Kubernetes clusters stretched over two server rooms.')
  .version(version())
  .hook('preAction', (_, command) => {
    called = command
  })
let called = program

program
  .command('agent')
  .description('run the agent of this node')
  .requiredOption('--config <file>', 'YAML file; docs/configuration.md lists its fields')
  .action(async ({ config }: { config: string }) => {
    const { loadConfiguration } = await import('../config/load.ts')
    const { runAgent } = await import('../agent/agent.ts')
    const agent = await runAgent(loadConfiguration(config, process.env))
    untilSignal(() => agent.stop())
  })

program
  .command('witness')
  .description('run the bundled witness, on a host outside both rooms')
  .requiredOption('--config <file>', 'YAML file; docs/configuration.md lists its fields')
  .action(async ({ config }: { config: string }) => {
    const { loadWitnessConfiguration } = await import('../config/load.ts')
    const { runWitness } = await import('../witness/server.ts')
    const { createLog } = await import('../observe/log.ts')
    const configuration = loadWitnessConfiguration(config, process.env)
    const witness = await runWitness(configuration, createLog(configuration.log.level, 'witness'))
    untilSignal(() => witness.stop())
  })

program
  .command('init')
  .description('make epoch 0 once, when every agent runs: create-only in the cluster and in the witness')
  .requiredOption('--config <file>', "an agent's YAML file: names the cluster and the witness")
  .requiredOption('--preferred-room <room>', 'survives a cut when the witness cannot decide')
  .option('--nodes <names>', 'only these nodes, separated by commas', names)
  .action(async ({ config, preferredRoom, nodes }: { config: string; preferredRoom: string; nodes?: readonly string[] }) => {
    const { runInit } = await import('./init.ts')
    await runInit(config, preferredRoom, nodes)
  })

interface Asked {
  readonly config: string
  readonly by: string
  /** Seconds. */
  readonly wait: number
  readonly room?: readonly string[]
  readonly node?: readonly string[]
  readonly force?: boolean
}

/** A command that asks this node's agent for an epoch. */
function asking(name: string, description: string, request: (asked: Asked) => OperatorRequest, hasNodes: boolean, force?: string): void {
  const command = program
    .command(name)
    .description(description)
    .requiredOption('--config <file>', "this node's agent's YAML file: names its control socket")
    .requiredOption('--by <name>', 'who asks; it is recorded')
    .option('--wait <seconds>', 'for the epoch', aNumber(0.1, 86_400), 60)
  if (hasNodes)
    command
      .option('--room <names>', 'whole rooms, separated by commas', names, [])
      .option('--node <names>', 'single nodes, separated by commas', names, [])
  if (force !== undefined) command.option('--force', force)
  command.action(async (asked: Asked) => {
    const { ask } = await import('../agent/requests/client.ts')
    const waitMs = asked.wait * 1000
    const say = (line: string): void => void process.stdout.write(`${line}\n`)
    process.exit(await ask({ config: asked.config, request: request(asked), waitMs, say }))
  })
}

const named = ({ room = [], node = [], by }: Asked) => ({ rooms: room, nodes: node, by })

asking(
  'confirm-dead',
  'confirm that nodes are off and stay off: it proves their fence, and where votes are missing the nodes that are left go on by it',
  (asked) => ({ kind: 'confirm-dead', ...named(asked) }),
  true,
)
asking(
  'unfence',
  'let nodes come back that were fenced, once they have killed what they ran',
  (asked) => ({ kind: 'unfence', ...named(asked), isForced: asked.force === true }),
  true,
  'override all checks but the kill; it is recorded',
)
asking('suspend', 'suspend all fencing, until resumed', ({ by }) => ({ kind: 'suspend-fencing', isSuspended: true, by }), false)
asking('resume', 'let fencing go on', ({ by }) => ({ kind: 'suspend-fencing', isSuspended: false, by }), false)
asking(
  'maintenance',
  'nodes that you will work on: neither dead nor alive, and without a vote. Drain them first',
  (asked) => ({ kind: 'maintenance', ...named(asked), isOn: true }),
  true,
)
asking('end-maintenance', 'nodes that you have worked on', (asked) => ({ kind: 'maintenance', ...named(asked), isOn: false }), true)

program
  .command('demo')
  .description('an embedded two-room cluster on loopback: a room dies and its virtual machines come back')
  .option('--scenario <name>', 'what happens', 'room-power')
  .option('--list', 'list the scenarios')
  .option('--keep', 'keep the demo directory with all logs')
  .option('--no-watchdog', 'nodes without a watchdog: the fence must wait for another proof')
  .option('--no-freeze', 'volumes without freeze mode: the fence waits for the timed proof')
  .addOption(
    new Option('--break <rule>', 'break one rule on purpose and see the observer report it').choices(['permits', 'unlock', 'uid'] as const),
  )
  .action(async (options: DemoCommand) => {
    const { demo } = await import('../demo/demo.ts')
    process.exit(await demo(options))
  })

const LAST_SEED = 999_999_999_999

program
  .command('simulate')
  .description('run the shipped decision code in a virtual world: many seeds, one with its whole story, or a named scenario')
  .option('--seeds <number>', 'how many schedules (default: 1000, or 1 with --trace)', wholeNumber(1, LAST_SEED))
  .option('--seed <number>', 'the first seed (default: by the time of day, so that each run is a fresh sweep)', wholeNumber(1, LAST_SEED))
  .addOption(
    new Option('--profile <name>', 'hostile: short margins, tens of faults in minutes; ordinary: default times')
      .choices(['hostile', 'ordinary'] as const)
      .default('hostile'),
  )
  .option('--workers <number>', 'run on so many cores; the result is the same', wholeNumber(1, 64), 1)
  .option(
    '--coverage',
    'count which branches of src/protocol the schedules ran, and list those that none did; two to three times slower',
    false,
  )
  .option(
    '--resume <file>',
    'keep in it how far this came, in parts with their commit: the same command again goes on until the part has its schedules; ' +
      'another commit begins another part, with seeds that no part before has run',
  )
  .option('--report <file>', 'print its parts as a table for docs/simulation.md, and run nothing')
  .option('--trace', "print each run's whole log", false)
  .option('--scenario <name>', 'run one scenario and print its log; "list" names them')
  .action(async (options: SimulateCommand) => {
    const { simulate } = await import('../sim/command.ts')
    process.exit(await simulate(options))
  })

await program.parseAsync().catch(fail)
