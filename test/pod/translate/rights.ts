/** Capabilities and closed paths as containerd gives them, and its default profile of system calls. Pure. */
import type { SecurityContext } from './manifest.ts'
import type { OciSeccomp } from './oci.ts'

/** In the order of their numbers. */
const all = `
  CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST
  NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE
  SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND
  AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
`
  .trim()
  .split(/\s+/)
const byDefault = `
  AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT
`
  .trim()
  .split(/\s+/)

/** Of the line `CapBnd:` of /proc/self/status. A machine may itself be a container, and cannot give what it does not have. */
export const capabilitiesIn = (status: string): readonly string[] => {
  const bits = BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`)
  return all.filter((_, number) => (bits >> BigInt(number)) & 1n)
}

/** @param machine what the machine itself has */
export function capabilitiesOf({ privileged, capabilities }: SecurityContext, machine: readonly string[]): readonly string[] {
  const add = privileged === true ? ['ALL'] : (capabilities?.add ?? [])
  const drop = privileged === true ? [] : (capabilities?.drop ?? [])
  const start = add.includes('ALL') ? machine : drop.includes('ALL') ? [] : byDefault
  const dropped = new Set(drop)
  const wanted = [...new Set([...start.filter((name) => !dropped.has(name)), ...add.filter((name) => name !== 'ALL')])].toSorted()
  const missing = wanted.filter((name) => !machine.includes(name))
  if (missing.length > 0) throw new Error(`the pod asks for ${missing.join(', ')}, which this machine's root does not have`)
  return wanted.map((name) => `CAP_${name}`)
}

/**
 * Written to, it resets the machine at once, and it is the machine on which the tests run: closed even where a privileged container would have it
 * open. What is written goes to /dev/null.
 */
export const neverOpen: readonly string[] = ['/proc/sysrq-trigger']

export const closedPaths = (isPrivileged: boolean): { readonly masked: readonly string[]; readonly readonly: readonly string[] } => ({
  masked: isPrivileged
    ? neverOpen
    : [
        ...neverOpen,
        ...['acpi', 'asound', 'kcore', 'keys', 'latency_stats', 'sched_debug', 'scsi', 'timer_list', 'timer_stats'].map(
          (name) => `/proc/${name}`,
        ),
        '/sys/firmware',
      ],
  readonly: isPrivileged ? [] : ['bus', 'fs', 'irq', 'sys'].map((name) => `/proc/${name}`),
})

/** The default profile as container engines ship it (Debian: /usr/share/containers/seccomp.json), with conditions that a runtime does not know. */
export interface SeccompTemplate {
  readonly defaultAction: string
  readonly defaultErrnoRet?: number
  readonly archMap?: readonly { readonly architecture: string; readonly subArchitectures?: readonly string[] | null }[]
  readonly syscalls: readonly {
    readonly names: readonly string[]
    readonly action: string
    readonly errnoRet?: number
    readonly args?: readonly object[] | null
    readonly includes?: SeccompCondition
    readonly excludes?: SeccompCondition
  }[]
}

interface SeccompCondition {
  readonly caps?: readonly string[]
  readonly arches?: readonly string[]
}

export function seccompOf(template: SeccompTemplate, capabilities: readonly string[], machine: string): OciSeccomp {
  const [architecture, name] = machine === 'arm64' ? ['SCMP_ARCH_AARCH64', 'arm64'] : ['SCMP_ARCH_X86_64', 'amd64']
  const architectures = template.archMap?.find((one) => one.architecture === architecture)
  const held = new Set(capabilities)
  const isMet = ({ caps, arches }: SeccompCondition, isWanted: boolean): boolean =>
    (caps === undefined || caps.length === 0 || caps.every((one) => held.has(one)) === isWanted) &&
    (arches === undefined || arches.length === 0 || arches.includes(name) === isWanted)
  const rules = template.syscalls.filter(
    ({ includes, excludes }) => (includes === undefined || isMet(includes, true)) && (excludes === undefined || isMet(excludes, false)),
  )
  return {
    defaultAction: template.defaultAction,
    ...(template.defaultErrnoRet === undefined ? {} : { defaultErrnoRet: template.defaultErrnoRet }),
    architectures: [architecture, ...(architectures?.subArchitectures ?? [])],
    syscalls: rules.map(({ names, action, errnoRet, args }) => ({
      names,
      action,
      ...(errnoRet === undefined ? {} : { errnoRet }),
      ...(args === undefined || args === null || args.length === 0 ? {} : { args }),
    })),
  }
}
