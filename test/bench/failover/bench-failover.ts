/** `npm run bench -- failover`: how long workloads of a dead room stay away with roomfence, with the taint alone, with Kubernetes alone, in one run. */
import { execFileSync } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import { watchdogSeconds } from '../../cluster/roomfence.ts'
import { stretched } from '../../support/timing.ts'
import { deploymentPods, nodesPerRoom, startBed, statefulPods } from './bench-bed.ts'
import type { FailoverBenchOptions } from './options.ts'
import { type PlayedRound, playRound, versionsOf } from './rounds.ts'
import { faults, remarks, table, titles } from './bench-table.ts'

const say = (line: string): void => void process.stdout.write(`${line}\n`)

const commit = (): string => {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'unknown'
  }
}

const loads = (): string =>
  loadavg()
    .map((load) => load.toFixed(1))
    .join(' ')

const settings = (
  options: FailoverBenchOptions,
  versions: string,
  begun: { readonly commit: string; readonly loads: string },
): readonly string[] => {
  const [cpu] = cpus()
  return [
    `command: npm run bench -- failover --rounds ${options.rounds.join(',')} --vms ${options.vms} --cap-minutes ${options.capMinutes}`,
    `machine: ${cpus().length} x ${cpu?.model ?? 'unknown processor'}, shared by all of it; load (1, 5, 15 min) ${begun.loads} before, ${loads()} after; Node ${process.version}; roomfence ${begun.commit}`,
    `cluster: ${versions}; real etcd, kube-apiserver, controller-manager, scheduler, virt-controller, virt-api with their default flags;`,
    '         played: kubelets (pod start 1 s, Lease every 10 s), virt-handlers (guest boot 1 s), CSI attacher (0.3 s); no guest, no DRBD',
    `workloads in the room that dies (${nodesPerRoom} of ${nodesPerRoom * 2} nodes): ${options.vms} VMs runStrategy Always with an RWX disk,`,
    `         a StatefulSet of ${statefulPods} pods with an RWO volume each, a Deployment of ${deploymentPods} pods`,
    `roomfence: the bundle that the image runs, default times, watchdog ${watchdogSeconds} s, clockRateError 0.001, bundled witness; time factor ${stretched(1)}`,
  ]
}

/** @returns the exit code: 0; 1 when something ran twice or roomfence was not finished. */
export const benchFailover = async (options: FailoverBenchOptions): Promise<number> => {
  const begun = { commit: commit(), loads: loads() }
  say('starting the control plane (half a minute; the first time the programs are built, ten minutes)')
  const bed = await startBed(say)
  const played: PlayedRound[] = []
  let versions = ''
  try {
    versions = await versionsOf(bed)
    for (const [index, round] of options.rounds.entries()) {
      say(`round ${index + 1} of ${options.rounds.length}: ${titles[round]}`)
      played.push(await playRound(bed, round, options, say))
      if (index + 1 < options.rounds.length) {
        say('  restoring the cluster')
        await bed.restore(`bench-${round}`)
      }
    }
  } finally {
    await bed.stop()
  }
  say('')
  for (const line of settings(options, versions, begun)) say(line)
  say('\nseconds since the power loss; ordered: the old pod is gone; running: another instance runs (VMI Running, pod Ready)')
  say('of roomfence: median running again, compared with roomfence in this run; > is: not so long as it was watched\n')
  for (const line of table(played)) say(line)
  for (const { round, notes } of played) say(`${titles[round]}:\n  ${notes.join('\n  ')}`)
  for (const line of remarks(played)) say(line)
  const wrong = faults(played)
  for (const line of wrong) process.stderr.write(`WRONG: ${line}\n`)
  return wrong.length === 0 ? 0 : 1
}
