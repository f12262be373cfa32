/** What a node's directory looks like in the demo, for everyone who reads or writes there. */
import { join } from 'node:path'

export interface NodePaths {
  readonly directory: string
  /** New with every boot, as /proc/sys/kernel/random/boot_id. */
  readonly bootId: string
  /** The watchdog device: a FIFO that takes one byte a pet, and `V` before close to disarm. Absent on a node without a watchdog. */
  readonly watchdog: string
  /** Whole seconds, as /sys/class/watchdog/watchdog0/timeout. */
  readonly watchdogTimeout: string
  /** Stands for /var/lib/kubelet; pods are below `pods/<uid>`, each with a file `pgid`. */
  readonly kubelet: string
  /** Executable with drbdsetup's command line. */
  readonly drbdsetup: string
  /** Stands for /var/lock, where drbdsetup keeps a file for each minor. */
  readonly locks: string
  /** Stands for /proc/drbd: there as long as the kernel stand-in runs. */
  readonly procDrbd: string
  /** Stands for /sys/module/drbd/parameters/usermode_helper. */
  readonly usermodeHelper: string
  /** Configuration of the storage kernel. */
  readonly kernelConfig: string
  readonly kernelSocket: string
  readonly kernelPeerSocket: string
  readonly replicas: string
  /** For the agent: its state directory and log. */
  readonly agentState: string
  readonly agentLog: string
}

/** All paths of a node below its directory. Keep the directory short: unix socket paths end at 107 characters. */
export function nodePaths(directory: string): NodePaths {
  return {
    directory,
    bootId: join(directory, 'boot_id'),
    watchdog: join(directory, 'watchdog'),
    watchdogTimeout: join(directory, 'watchdog-timeout'),
    kubelet: join(directory, 'kubelet'),
    drbdsetup: join(directory, 'drbdsetup'),
    locks: join(directory, 'lock'),
    procDrbd: join(directory, 'proc-drbd'),
    usermodeHelper: join(directory, 'usermode_helper'),
    kernelConfig: join(directory, 'kernel.json'),
    kernelSocket: join(directory, 'kernel.sock'),
    kernelPeerSocket: join(directory, 'peer.sock'),
    replicas: join(directory, 'replicas'),
    agentState: join(directory, 'agent'),
    agentLog: join(directory, 'agent.log'),
  }
}

export const podDirectory = (paths: NodePaths, uid: string): string => join(paths.kubelet, 'pods', uid)
