/** What the tests of the pod need of a machine, and what to do where it lacks some. */
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'

/** Program to Debian package. */
const packages: Readonly<Record<string, string>> = {
  buildah: 'buildah',
  debootstrap: 'debootstrap',
  flock: 'util-linux',
  runc: 'runc',
  strace: 'strace',
  unshare: 'util-linux',
}

const isOnPath = (program: string): boolean =>
  [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin'].some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })

/** The packages that are not installed. */
const missingPackages = (): readonly string[] => [
  ...new Set(Object.entries(packages).flatMap(([program, name]) => (isOnPath(program) ? [] : [name]))),
]

/** Why pods cannot be run here; undefined: they can. */
export function needed(): string | undefined {
  if (process.getuid?.() !== 0) return 'the tests of the pod make containers, cgroups and mounts: run them as root'
  const missing = missingPackages()
  return missing.length === 0
    ? undefined
    : `the tests of the pod need more of this machine: apt-get install --no-install-recommends ${missing.join(' ')}`
}
