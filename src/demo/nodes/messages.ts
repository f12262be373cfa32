/** What a node's supervisor and the demo's main process say to each other. */
import type { KernelConfig } from '../storage/kernel.ts'

export interface Pod {
  readonly uid: string
  readonly namespace: string
  readonly name: string
  /** Volumes by their DRBD resource, which is also the name of the PersistentVolume's directory. A VM writes to the first, another pod to the first that has a replica here. */
  readonly volumes: readonly string[]
  /** Given for a launcher pod that runs its machine; one without it (a migration's target) writes nothing. */
  readonly vm?: { readonly name: string; readonly vmiUid: string }
}

export interface SupervisorConfig {
  readonly name: string
  readonly directory: string
  readonly programs: { readonly kernel: string; readonly events2: string; readonly vm: string }
  /** The agent's command line; none for a node without an agent. */
  readonly agentCommand?: readonly string[]
  readonly agentEnvironment: Readonly<Record<string, string>>
  /** An agent that ends by itself is started again after this long, as by its DaemonSet. */
  readonly agentRestartMs: number
  /** From a reset, or from power on, to the first process. */
  readonly bootDelayMs: number
  /** Whole seconds; without it the node has no watchdog. */
  readonly watchdogTimeoutSeconds?: number
  readonly kernel: KernelConfig
  readonly observerLog: string
  readonly vmIntervalMs: number
}

export type NodeCommand =
  | { readonly type: 'startPod'; readonly pod: Pod }
  | { readonly type: 'stopPod'; readonly uid: string }
  | { readonly type: 'powerOff' }
  | { readonly type: 'powerOn' }
  | { readonly type: 'signalAgent'; readonly signal: NodeJS.Signals }
  /** Ends the agent with a signal; it is started again after `awayMs`, or after the usual time if that is longer. */
  | { readonly type: 'endAgent'; readonly signal: NodeJS.Signals; readonly awayMs: number }

export interface CommandMessage {
  readonly id: number
  readonly order: NodeCommand
}

export type NodeEvent =
  | { readonly type: 'booted'; readonly bootId: string }
  | { readonly type: 'down'; readonly cause: 'power' | 'watchdog' | 'panic' }
  | { readonly type: 'agentStarted'; readonly pid: number }
  | { readonly type: 'agentExited'; readonly code: number | null; readonly signal: string | null }
  | { readonly type: 'podRunning'; readonly uid: string; readonly pgid: number }
  | {
      readonly type: 'podExited'
      readonly uid: string
      readonly code: number | null
      readonly signal: string | null
      readonly reason: string
    }

export type Report =
  | { readonly type: 'answer'; readonly id: number; readonly error?: string }
  | { readonly type: 'event'; readonly event: NodeEvent }
  /** A group was started: whoever outlives the supervisor must be able to end it. */
  | { readonly type: 'group'; readonly pgid: number }
