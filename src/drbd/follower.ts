/** `drbdsetup events2`, kept running: it says at once *that* something changed; what is true, `status` is asked for. Adapter. */
import { type ChildProcess, spawn } from 'node:child_process'
import { applyEvent, type EventsState, noEvents, parseEvent } from './events2.ts'
import type { Resource } from './model.ts'

export interface FollowerOptions {
  readonly program: string
  /** The first pause before a restart; doubled up to `restartAtMostMs` while events2 does not get through its initial dump. */
  readonly restartAfterMs: number
  readonly restartAtMostMs: number
  /** The state changed, was announced whole, or may have changed unseen (skipped lines, an exit): read it again. */
  readonly onChange: () => void
  /** Why events2 does not run; undefined once it has announced the whole state. For people. */
  readonly onProblem: (reason: string | undefined) => void
}

/** @returns what ends it for good. */
export function followEvents(options: FollowerOptions): () => void {
  let isStopped = false
  let restartInMs = options.restartAfterMs
  let timer: NodeJS.Timeout | undefined
  let child: ChildProcess | undefined

  const start = () => {
    let state: EventsState = noEvents
    let rest = ''
    const one = spawn(options.program, ['events2', '--timestamps', '--statistics'], {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, LC_ALL: 'C' },
    })
    child = one
    let isEnded = false
    const end = (reason: string) => {
      if (isEnded) return
      isEnded = true
      one.kill('SIGKILL')
      if (isStopped) return
      options.onProblem(reason)
      // It dies silently when it was not read fast enough: any exit means that the state is unknown.
      options.onChange()
      timer = setTimeout(start, restartInMs)
      restartInMs = Math.min(restartInMs * 2, options.restartAtMostMs)
    }
    one.once('error', (error) => end(`events2 could not be run: ${error.message}`))
    one.once('close', (exitCode, signal) => end(`events2 ended (${exitCode ?? signal})`))
    one.stdout.setEncoding('utf8')
    one.stdout.on('data', (chunk: string) => {
      if (isEnded || isStopped) return
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      try {
        const before = state
        for (const line of lines) state = applyEvent(state, parseEvent(line))
        // A line without end would otherwise fill the memory.
        if (rest.length > 64 * 1024) parseEvent(rest)
        if (!state.isComplete) return
        restartInMs = options.restartAfterMs
        if (!before.isComplete) options.onProblem(undefined)
        if (state.hasSkipped || isOtherState(before, state)) options.onChange()
        state = { ...state, hasSkipped: false }
      } catch (error) {
        end(error instanceof Error ? error.message : String(error))
      }
    })
  }

  start()
  return () => {
    isStopped = true
    clearTimeout(timer)
    child?.kill('SIGKILL')
  }
}

const isOtherState = (before: EventsState, after: EventsState): boolean =>
  before.isComplete !== after.isComplete ||
  before.resources.size !== after.resources.size ||
  [...after.resources].some(([name, resource]) => {
    const known = before.resources.get(name)
    return known !== resource && (known === undefined || withoutStatistics(known) !== withoutStatistics(resource))
  })

/** The state as one text, to compare. Statistics move with every write. */
export const withoutStatistics = (state: Resource | readonly Resource[]): string =>
  JSON.stringify(state, (key, value: unknown) => (key === 'upperPending' || key === 'outOfSyncKib' ? undefined : value))
