/** `npm run bench`: figures, each with what makes it. Ratios where a machine would decide otherwise; a figure names the machine. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Argument } from 'commander'
import { buildBundle } from '../../deploy/build.ts'
import { createProgram } from '../../src/cli/options.ts'
import { runDemo } from '../../src/demo/demo.ts'
import { benchmarkSimulation } from '../../src/sim/sweep/benchmark.ts'
import { benchFailover } from './failover/bench-failover.ts'
import { type FailoverBenchOptions, withOptions } from './failover/options.ts'

const say = (line: string): void => void process.stdout.write(`${line}\n`)

/** Peak resident memory and wall time of one run of a program. */
async function runOf(program: readonly string[]): Promise<{ readonly peakMb: number; readonly ms: number }> {
  const started = performance.now()
  const [command, ...args] = program
  const child = spawn(command ?? '', args, { stdio: 'ignore' })
  let peakKb = 0
  const look = setInterval(() => {
    try {
      const [, kb] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid ?? 0}/status`, 'utf8')) ?? []
      peakKb = Math.max(peakKb, Number(kb ?? 0))
    } catch {
      // It has ended.
    }
  }, 5)
  await new Promise((resolve) => child.once('exit', resolve))
  clearInterval(look)
  return { peakMb: Math.round(peakKb / 1024), ms: Math.round(performance.now() - started) }
}

const benches: Readonly<Record<string, () => Promise<void>>> = {
  /** Virtual seconds a real second, 3+3 nodes, one core. */
  simulation: async () => {
    for (const profile of ['ordinary', 'hostile'] as const)
      say(`simulation: ${Math.round(benchmarkSimulation(profile))} x real time (3+3 nodes, ${profile} profile, one core)`)
  },
  /** What the bundle saves against the source: start to the first error about its configuration. */
  start: async () => {
    const directory = mkdtempSync(join(tmpdir(), 'roomfence-bench-'))
    try {
      const bundle = join(directory, 'roomfence.mjs')
      await buildBundle(bundle)
      const args = ['agent', '--config', '/dev/null']
      const source = await runOf([process.execPath, 'src/cli/main.ts', ...args])
      const bundled = await runOf([process.execPath, bundle, ...args])
      say(
        `start: bundle ${bundled.ms} ms, ${bundled.peakMb} MB; source ${source.ms} ms, ${source.peakMb} MB; ratio ${(bundled.ms / source.ms).toFixed(2)}`,
      )
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  },
  /** Power loss to each VM writing elsewhere, with freeze mode and without, on the embedded cluster. */
  'failover-demo': async () => {
    for (const freeze of [true, false]) {
      const { lines, wrongs } = await runDemo({ scenario: 'room-power', watchdog: true, freeze }, () => undefined)
      say(
        `failover-demo ${freeze ? 'with freeze mode' : 'by the timed proof'}${wrongs.length === 0 ? '' : ` (WRONG: ${wrongs.join('; ')})`}:`,
      )
      for (const line of lines.slice(lines.findIndex((one) => one.startsWith('Timeline')))) say(`  ${line}`)
    }
  },
}

const program = createProgram('bench')
  .description('figures, each with what makes it')
  .addArgument(new Argument('[names...]', 'which; by default all of them').choices(Object.keys(benches)))
  .action(async (names: readonly string[]) => {
    const [cpu] = cpus()
    say(`${cpus().length} x ${cpu?.model ?? 'unknown processor'}, Node ${process.version}`)
    for (const [name, bench] of Object.entries(benches)) if (names.length === 0 || names.includes(name)) await bench()
  })

// A quarter of an hour, and a real control plane: only when it is asked for.
withOptions(program.command('failover'))
  .description('how long the workloads of a dead room stay away, on a real control plane; not one of those that run by default')
  .action(async (options: FailoverBenchOptions) => {
    process.exitCode = await benchFailover(options)
  })

await program.parseAsync()
