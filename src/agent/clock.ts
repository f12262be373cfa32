/** The clock of this process, for all parts of the agent that are given the time. Adapter. */

export const nowMs = (): number => performance.now()

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
