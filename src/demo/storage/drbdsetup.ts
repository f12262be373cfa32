/**
 * A program with drbdsetup's command line that talks to the demo's kernel. It is a script of bash because agents start it twice a second:
 * bash starts in a twentieth of the time that Node takes, which was more than all the rest of the demo together.
 */

/** The exit code and the words of a drbdsetup without its module. */
export const withoutModule = {
  code: 20,
  stderr: 'modprobe: FATAL: Module drbd not found\nFailed to modprobe drbd (No such file or directory)',
} as const

/** Where the kernel behind this socket writes the port at which it takes commands. */
export const commandPortFile = (kernelSocket: string): string => `${kernelSocket}.port`

export interface DrbdsetupOptions {
  readonly kernelSocket: string
  /** The command line that prints events, before the socket and the arguments. */
  readonly events2: readonly string[]
}

/** The text of the program. What it says to the kernel and hears: `serveCommand` in kernel.ts. */
export function drbdsetupProgram({ kernelSocket, events2 }: DrbdsetupOptions): string {
  return `#!/usr/bin/env bash
if [[ \${1-} == events2 ]]; then exec ${events2.map(quoted).join(' ')} ${quoted(kernelSocket)} "\${@:2}"; fi
without_module() {
  echo ${quoted(withoutModule.stderr)} >&2
  exit ${withoutModule.code}
}
{ read -r port <${quoted(commandPortFile(kernelSocket))} && exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || without_module
printf '%s\\n' "$@" '' >&3
read -r code error_bytes <&3 || without_module
if ((error_bytes > 0)); then head -c "$error_bytes" <&3 >&2; fi
cat <&3
exit "$code"
`
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
