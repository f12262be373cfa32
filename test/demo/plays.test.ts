import { describe, expect, inject, test } from 'vitest'
import { runDemo } from '../../src/demo/demo.ts'
import { scenarios } from '../../src/demo/run/scenarios.ts'

const { program, compileCache } = inject('bundle')
process.env['NODE_COMPILE_CACHE'] = compileCache

const run = (command: Partial<Parameters<typeof runDemo>[0]>) => {
  const lines: string[] = []
  return runDemo(
    { scenario: 'room-power', watchdog: true, freeze: true, program: [process.execPath, program], ...command },
    (line) => void lines.push(line),
  ).then((result) => {
    // The whole story is the failure's message: a demo cannot be replayed.
    if (result.wrongs.length > 0 && command.break === undefined) console.log(lines.join('\n'))
    return result
  })
}

describe.concurrent('the demo, with the real agents as processes', () => {
  for (const scenario of Object.keys(scenarios))
    test(`ends well: ${scenario}`, async () => {
      expect((await run({ scenario })).wrongs).toEqual([])
    })

  /** Files that the simulator plays too; src/demo/run/translate.test.ts translates all that real processes can play. */
  for (const scenario of ['witness-lost', 'one-path-of-two-lost'])
    test(`ends as its file says: ${scenario}`, async () => {
      const { wrongs, lines } = await run({ scenario })
      expect(wrongs).toEqual([])
      expect(lines.some((line) => line.includes('as expected: '))).toBe(true)
    })

  test('a file that real processes cannot play says why', async () => {
    await expect(run({ scenario: 'room-lost-during-migration' })).rejects.toThrow(/cannot play this: .*npm run simulate -- --scenario/)
    await expect(run({ scenario: 'no-such' })).rejects.toThrow(/--scenario: saw "no-such"; allowed: room-power, .*, witness-lost/)
  })

  test('without freeze mode the fence waits for the timed proof', async () => {
    const { wrongs, lines } = await run({ freeze: false })
    expect(wrongs).toEqual([])
    expect(lines.some((line) => line.includes('(timed proof)'))).toBe(true)
    expect(lines.some((line) => line.includes('(storage proof)'))).toBe(false)
  })

  test('without watchdog and freeze mode the fence waits for another proof and says so', async () => {
    const { wrongs, lines } = await run({ freeze: false, watchdog: false })
    expect(wrongs).toEqual([])
    expect(lines.some((line) => line.includes('no working watchdog'))).toBe(true)
  })
})

describe.concurrent('the observer sees a rule that is broken', () => {
  test('permits ignored: two copies write', async () => {
    expect((await run({ scenario: 'link-cut', break: 'permits', freeze: false })).findings).toContain('twoWriters')
  })

  test('a volume unlocked without a committed fence: acknowledged records are missing', async () => {
    expect((await run({ scenario: 'link-cut', break: 'unlock' })).findings).toContain('acknowledgedRecordMissing')
  })

  test('a force delete without its uid precondition: a replacement is killed', async () => {
    expect((await run({ break: 'uid' })).findings).toContain('killedOnHealthyNode')
  })
})
