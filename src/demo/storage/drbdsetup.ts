/**
 * A program with drbdsetup's command line that talks to the demo's kernel. It is a script of bash because agents start it twice a second:
 * bash starts in a twentieth of the time that Node takes, which was more than all the rest of the demo together.
 * As the real one it writes a lock file before the commands that name a minor, and carries none of these out where it cannot.
 */

/** The exit code and the words of a drbdsetup without its module. */
export const withoutModule = {
  code: 20,
  stderr: 'modprobe: FATAL: Module drbd not found\nFailed to modprobe drbd (No such file or directory)',
} as const

/** All others, connect, disconnect and net-options among them, name a resource and write nothing. */
const namesMinor = ['resume-io', 'suspend-io', 'outdate', 'detach']

/** Where the kernel behind this socket writes the port at which it takes commands. */
export const commandPortFile = (kernelSocket: string): string => `${kernelSocket}.port`

export interface DrbdsetupOptions {
  readonly kernelSocket: string
  /** Stands for /var/lock. */
  readonly lockFolder: string
  /** The command line that prints events, before the socket and the arguments. */
  readonly events2: readonly string[]
}

/** The text of the program. What it says to the kernel and hears: `serveCommand` in kernel.ts. */
export function drbdsetupProgram({ kernelSocket, lockFolder, events2 }: DrbdsetupOptions): string {
  return `#!/usr/bin/env bash
if [[ \${1-} == events2 ]]; then exec ${events2.map(quoted).join(' ')} ${quoted(kernelSocket)} "\${@:2}"; fi
without_module() {
  echo ${quoted(withoutModule.stderr)} >&2
  exit ${withoutModule.code}
}
{ read -r port <${quoted(commandPortFile(kernelSocket))} && exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || without_module
case \${1-} in
  ${namesMinor.join(' | ')})
    for minor in "\${@:2}"; do [[ $minor == -* ]] || break; done
    lock=${quoted(lockFolder)}/drbd-147-$minor
    said=$( (umask 077 && exec 4<>"$lock") 2>&1) || { echo "open($lock): \${said##*: }" >&2; exit 20; }
    ;;
esac
printf '%s\\n' "$@" '' >&3
read -r code error_bytes <&3 || without_module
if ((error_bytes > 0)); then head -c "$error_bytes" <&3 >&2; fi
cat <&3
exit "$code"
`
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
