/** `drbdsetup events2` of the demo: `events2.ts <kernel socket> <arguments after events2>` prints what the demo's kernel tells until that ends. */
import { connect } from 'node:net'
import { withoutModule } from './drbdsetup.ts'

const [socketPath = '', ...argv] = process.argv.slice(2)

const socket = connect(socketPath)
socket.on('error', (error) => {
  process.stderr.write(`${withoutModule.stderr} (${error.message})\n`)
  process.exit(withoutModule.code)
})
socket.write(`${JSON.stringify({ type: 'events', argv })}\n`)
socket.pipe(process.stdout)
socket.on('close', () => process.exit(argv.includes('--now') ? 0 : withoutModule.code))
process.stdout.on('error', () => process.exit(1))
