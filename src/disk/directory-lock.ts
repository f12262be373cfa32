/**
 * One program to a directory. The lock is a socket in Linux's abstract namespace, named after the directory's device and inode: the kernel
 * grants it to one process and takes it back when that process dies, so nothing is ever stale. A `lock` file names the holder for people,
 * and refuses a second program from another network namespace as long as that process can be seen alive.
 */
import { readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { DurableError, errnoOf, refusedBySystem } from './durable-error.ts'

export interface DirectoryLock {
  release(): Promise<void>
}

/** When the process started, in clock ticks since boot: with the boot id it tells a process from a later one of the same number. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

function readOr(file: string, otherwise: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return otherwise
  }
}

function identityOf(pid: number): string {
  const namespace = (() => {
    try {
      return statSync('/proc/self/ns/pid').ino
    } catch {
      return 0
    }
  })()
  return `${pid} ${startOf(pid) ?? '-'} ${namespace} ${readOr('/proc/sys/kernel/random/boot_id', '-')}`
}

/** The holder that the file names, when it is another process that is alive for sure. */
function liveHolder(lockFile: string): number | undefined {
  const written = readOr(lockFile, '')
  const pid = Number(/^\d+/.exec(written)?.[0] ?? NaN)
  if (!Number.isSafeInteger(pid) || pid === process.pid || startOf(pid) === undefined) return undefined
  return identityOf(pid) === written ? pid : undefined
}

function listen(address: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', reject)
    server.listen({ path: address }, () => {
      server.unref()
      resolve(server)
    })
  })
}

/** @throws DurableError `locked`, or what the operating system refused. */
export async function lockDirectory(directory: string): Promise<DirectoryLock> {
  const lockFile = join(directory, 'lock')
  const inUse = (holder: string) =>
    new DurableError(
      'locked',
      directory,
      `it is in use by ${holder}`,
      'stop that program, or give this one a directory of its own (stateDirectory)',
    )
  const { dev, ino } = statSync(directory)
  let server: Server
  try {
    server = await listen(`\0roomfence-directory-${dev}-${ino}`)
  } catch (cause) {
    if (errnoOf(cause) === 'EADDRINUSE') throw inUse(`another program (${readOr(lockFile, 'unknown process')})`)
    throw refusedBySystem(directory, 'locking the directory', cause)
  }
  const holder = liveHolder(lockFile)
  try {
    if (holder !== undefined) throw inUse(`process ${holder}`)
    writeFileSync(lockFile, `${identityOf(process.pid)}\n`, { mode: 0o600 })
  } catch (cause) {
    server.close()
    throw cause instanceof DurableError ? cause : refusedBySystem(lockFile, 'writing the lock file', cause)
  }
  return {
    release: () =>
      new Promise((resolve) => {
        try {
          unlinkSync(lockFile)
        } catch {
          // Gone already, or a read-only disk: the socket is the lock, the file only names its holder.
        }
        server.close(() => resolve())
      }),
  }
}
