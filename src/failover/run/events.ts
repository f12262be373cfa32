/** Kubernetes Events of the big steps, where operators look for them: on the Node, the VM or the pod. Best effort, and never waited for. */
import type { KubeClient } from '../../kubernetes/client.ts'
import { paths } from '../../kubernetes/resources.ts'

export interface EventSubject {
  readonly apiVersion: string
  readonly kind: string
  readonly namespace?: string
  readonly name: string
  readonly uid: string
}

export interface EventNote {
  readonly subject: EventSubject
  readonly type: 'Normal' | 'Warning'
  readonly reason: string
  readonly action: string
  readonly note: string
}

export interface EventWriter {
  write(note: EventNote): void
  /** Resolves when all that was written so far was sent or given up. */
  settled(): Promise<void>
}

const longestQueue = 1_000

export function startEventWriter(options: {
  readonly client: KubeClient
  readonly reporter: string
  readonly isoTime: () => string
  readonly signal: AbortSignal
  readonly enabled: boolean
  readonly onDropped?: (reason: string) => void
}): EventWriter {
  const queue: EventNote[] = []
  let sending = Promise.resolve()
  let isSending = false
  const drain = async (): Promise<void> => {
    for (let note = queue.shift(); note !== undefined && !options.signal.aborted; note = queue.shift()) {
      const namespace = note.subject.namespace ?? 'default'
      try {
        await options.client.create(paths.events(namespace), eventObject(note, namespace, options.reporter, options.isoTime()), {
          signal: options.signal,
          timeoutMs: 5_000,
        })
      } catch (error) {
        options.onDropped?.(error instanceof Error ? error.message : String(error))
      }
    }
    isSending = false
  }
  return {
    write: (note) => {
      if (!options.enabled) return
      if (queue.length >= longestQueue) {
        options.onDropped?.('too many events at once')
        return
      }
      queue.push(note)
      if (!isSending) {
        isSending = true
        sending = drain()
      }
    },
    settled: () => sending,
  }
}

/** events.k8s.io/v1: `eventTime` with microseconds; an event of a cluster-scoped object lives in `default`. */
function eventObject(note: EventNote, namespace: string, reporter: string, isoTime: string): unknown {
  return {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { generateName: 'roomfence-', namespace },
    eventTime: isoTime.replace(/(\.\d+)?Z$/, (fraction) => `${(fraction.slice(0, -1) || '.').padEnd(7, '0')}Z`),
    type: note.type,
    reason: note.reason,
    action: note.action,
    note: note.note.slice(0, 1_024),
    regarding: note.subject,
    reportingController: 'roomfence.io/agent',
    reportingInstance: reporter.slice(0, 128),
  }
}
