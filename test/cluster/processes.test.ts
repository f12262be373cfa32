/** What the cluster tests start ends with them, whatever becomes of them. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { describe, expect, it } from 'vitest'
import { keepProcesses, markedProcesses } from './processes.ts'
import { until } from '../support/timing.ts'

const starter = `
import { keepProcesses } from '${import.meta.dirname}/processes.ts'
const keeper = keepProcesses('orphan')
keeper.start({ name: 'group', command: 'sh', args: ['-c', 'sleep 1000 & sleep 1000'] })
console.log(keeper.directory)
setInterval(() => {}, 1000)
`

describe('kept processes', () => {
  it.each(['SIGKILL', 'SIGINT', 'SIGTERM'] as const)('are gone, with their directory, after the test was ended by %s', async (signal) => {
    const test = spawn(process.execPath, ['--input-type=module-typescript', '--eval', starter], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [directory] = (await once(createInterface({ input: test.stdout }), 'line')) as [string]
    await until('its processes are there', 10_000, () => markedProcesses(directory).length >= 3)
    test.kill(signal)
    await until('its processes are gone', 10_000, () => markedProcesses(directory).length === 0)
    await until('its directory is gone', 10_000, () => !existsSync(directory))
  })

  it('end as whole groups, also when the first process of the group ended before', async () => {
    const keeper = keepProcesses('group')
    const program = keeper.start({ name: 'parent', command: 'sh', args: ['-c', 'sleep 1000 & exit 3'] })
    expect(await program.ended).toBe('code 3')
    expect(markedProcesses(keeper.directory)).toHaveLength(1)
    await keeper.stop()
    expect(markedProcesses(keeper.directory)).toEqual([])
    expect(existsSync(keeper.directory)).toBe(false)
  })

  it('are reported, and killed, when they left their group', async () => {
    const keeper = keepProcesses('escape')
    keeper.start({ name: 'parent', command: 'setsid', args: ['--fork', 'sleep', '1000'] })
    await until('it runs in a session of its own', 10_000, () =>
      markedProcesses(keeper.directory).some(({ command }) => command === 'sleep 1000'),
    )
    await expect(keeper.stop()).rejects.toThrow(/left running: \d+ sleep 1000/)
    await until('it is gone', 10_000, () => markedProcesses(keeper.directory).length === 0)
  })

  it('cannot be started from a program that is not there', async () => {
    const keeper = keepProcesses('absent')
    expect(() => keeper.start({ name: 'absent', command: '/nowhere/program', args: [] })).toThrow('cannot start /nowhere/program')
    await keeper.stop()
  })
})
