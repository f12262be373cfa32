/** A program with drbdsetup's command line that talks to the demo's kernel: `drbdsetup.ts <kernel socket> <drbdsetup arguments>`. */
import { connect } from 'node:net'

const [socketPath, ...argv] = process.argv.slice(2)

function fail(reason: string): never {
  // The exit code and the words of a drbdsetup without its module.
  process.stderr.write(`modprobe: FATAL: Module drbd not found (${reason})\nFailed to modprobe drbd (No such file or directory)\n`)
  process.exit(20)
}

if (socketPath === undefined) fail('no socket given')
const socket = connect(socketPath)
socket.setEncoding('utf8')
socket.on('error', (error) => fail(error.message))
const isStream = argv[0] === 'events2'
socket.write(`${JSON.stringify(isStream ? { type: 'events', argv: argv.slice(1) } : { type: 'command', argv })}\n`)
if (isStream) {
  socket.pipe(process.stdout)
  socket.on('close', () => process.exit(argv.includes('--now') ? 0 : 20))
  process.stdout.on('error', () => process.exit(1))
  if (argv.includes('--poll')) process.stdin.on('end', () => process.exit(0)).resume()
} else {
  let text = ''
  socket.on('data', (chunk) => {
    text += String(chunk)
    if (!text.endsWith('\n')) return
    const result = JSON.parse(text) as { code: number; stdout: string; stderr: string }
    process.stderr.write(result.stderr)
    process.exitCode = result.code
    process.stdout.write(result.stdout, () => socket.destroy())
  })
  socket.on('close', () => {
    if (text === '') fail('the kernel went away')
  })
}
