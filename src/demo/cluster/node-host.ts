/** What a kubelet stand-in needs of the machine it stands on: the demo's node supervisor gives it, tests give a small one of their own. */

export interface PodToStart {
  readonly uid: string
  readonly namespace: string
  readonly name: string
  /** DRBD resources: the `volumeHandle` of each CSI volume of the pod. */
  readonly volumes: readonly string[]
  /** Given for virt-launcher pods. */
  readonly vm?: { readonly name: string; readonly vmiUid: string }
}

export interface NodeHost {
  readonly name: string
  readonly room: string
  /** Another one after each boot. */
  readonly bootId: string
  isPowered(): boolean
  /** Whether this node's link to the API server passes traffic now. Without it the kubelet neither reports nor learns. */
  reachesApi(): boolean
  /** Resolves when the pod runs; rejects when its volume refuses to be opened for writing. */
  startPod(pod: PodToStart): Promise<void>
  stopPod(uid: string): Promise<void>
  /** Uids of the pods whose processes really run on this node now. */
  runningPods(): ReadonlySet<string>
}
