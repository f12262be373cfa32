/** The protocol's times and their bounds (docs/protocol/README.md, "Times"). All milliseconds of a node's own monotonic clock. */

export interface Timings {
  /** A heartbeat to every member, every this long. */
  readonly heartbeatMs: number
  /** An ack lets the node run until this long after the heartbeat it echoes was sent. */
  readonly permitMs: number
  /** Silence of a whole room for this long makes it suspect; evidence of life younger than this vetoes. */
  readonly detectMs: number
  /** Silence of a single node, whose agent may just be restarting. */
  readonly detectNodeMs: number
  /** How long the room that is not preferred waits before it asks the witness. */
  readonly arbitrationDelayMs: number
  /** A containment that is not verified within this reboots the node. */
  readonly killMs: number
  /** An accepted value that is not learned for this long is finished or replaced by others. */
  readonly lingerMs: number
  /** A proposal that is not answered within this ends. */
  readonly attemptMs: number
  readonly witnessReadMs: number
  /** The witness out of reach for this long: an epoch without its vote. */
  readonly witnessShiftMs: number
  /** A voter that had an ack of the witness within this long vetoes its removal. */
  readonly witnessRecentMs: number
  /** The witness in reach and current for this long: an epoch with its vote. */
  readonly witnessReturnMs: number
  /** A node is heard, in sync and settled for this long before it votes again. */
  readonly settleMs: number
  /** Rate error of two nodes' monotonic clocks against each other's true rate: NTP slews by up to 0.083. */
  readonly clockRateError: number
  /** I/O that may still reach storage after a reset. */
  readonly ioResidueMs: number
  /** An agent whose own tick came this late accuses nobody. */
  readonly lateMs: number
  /** A call to the API server that was not answered within this is given up, by the server as well. */
  readonly apiCallMs: number
  /** A restarted agent (same boot) has this long to get a permit before it pauses what runs. */
  readonly restartGraceMs: number
}

export const defaultTimings: Timings = {
  heartbeatMs: 500,
  permitMs: 5_000,
  detectMs: 3_000,
  detectNodeMs: 20_000,
  arbitrationDelayMs: 1_500,
  killMs: 2_000,
  lingerMs: 3_000,
  attemptMs: 2_000,
  witnessReadMs: 1_000,
  witnessShiftMs: 60_000,
  witnessRecentMs: 30_000,
  witnessReturnMs: 10_000,
  settleMs: 5_000,
  clockRateError: 0.09,
  ioResidueMs: 1_000,
  lateMs: 1_000,
  apiCallMs: 15_000,
  restartGraceMs: 2_000,
}

/**
 * What was ordered on a permit that was extended last before this moment has certainly been done or given up after so long, on another node's clock: the
 * permit, a call that is on its way to the API server, or whose process is stopped right before it is sent, and the server's own time for it.
 */
export const quarantineMs = ({ clockRateError: r, permitMs, apiCallMs }: Timings): number =>
  ((1 + r) / (1 - r)) * (permitMs + 2 * apiCallMs)

/**
 * How long after its last ack a node is certainly silent, on another node's clock: the permit, the time to notice and pause, two watchdog
 * periods (one between checking the permit and petting, one until it fires), and I/O still in flight. A third period where the agent is killed
 * at the end of the second: the kernel pets once when the holder of the device dies (Linux, `watchdog_release`). It needs no time to pause.
 */
export function silentAfterMs(timings: Timings, watchdogMs: number): number {
  const { clockRateError: r, permitMs, killMs, ioResidueMs } = timings
  return ((1 + r) / (1 - r)) * (permitMs + Math.max(killMs, watchdogMs) + 2 * watchdogMs) + ioResidueMs
}
