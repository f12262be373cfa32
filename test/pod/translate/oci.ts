/** The parts of an OCI runtime configuration (config.json) that are written here. */
export interface OciMount {
  readonly destination: string
  readonly type?: string
  readonly source: string
  readonly options: readonly string[]
}

export interface OciSeccomp {
  readonly defaultAction: string
  readonly defaultErrnoRet?: number
  readonly architectures: readonly string[]
  readonly syscalls: readonly {
    readonly names: readonly string[]
    readonly action: string
    readonly errnoRet?: number
    readonly args?: readonly object[]
  }[]
}

export interface OciSpec {
  readonly ociVersion: string
  readonly process: {
    readonly terminal: false
    readonly user: { readonly uid: number; readonly gid: number; readonly additionalGids?: readonly number[] }
    readonly args: readonly string[]
    readonly env: readonly string[]
    readonly cwd: string
    readonly capabilities: Readonly<Record<'bounding' | 'effective' | 'permitted', readonly string[]>>
    readonly noNewPrivileges: boolean
    readonly oomScoreAdj: number
  }
  readonly root: { readonly path: string; readonly readonly: boolean }
  readonly hostname: string
  readonly mounts: readonly OciMount[]
  readonly linux: {
    readonly namespaces: readonly { readonly type: string }[]
    readonly cgroupsPath: string
    readonly resources: {
      readonly devices: readonly object[]
      readonly memory?: { readonly limit: number }
      readonly cpu?: { readonly shares?: number; readonly quota?: number; readonly period?: number }
    }
    readonly maskedPaths: readonly string[]
    readonly readonlyPaths: readonly string[]
    readonly seccomp?: OciSeccomp
  }
}
