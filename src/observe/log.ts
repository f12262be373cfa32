/** Logs: one JSON line an event on stdout, written at once, because this program may be about to reset its host. */
import { destination, type Logger, pino } from 'pino'

export type Log = Logger

export function createLog(level: string, node: string): Log {
  return pino({ level, base: { node }, timestamp: pino.stdTimeFunctions.isoTime }, destination({ dest: 1, sync: true }))
}
