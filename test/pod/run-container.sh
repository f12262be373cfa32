#!/bin/bash
# run-container.sh STATE ID BUNDLE ROOTFS [CGROUP-FOLDER...]: runs a bundle in the foreground, on a folder of its own over ROOTFS.
# Signals reach the container. It ends with this process, however that ends: a shell in a session of its own waits for a pipe that only this
# process holds open, and then deletes what is left. CGROUP-FOLDERs are removed when they are empty.
set -eu
state=$1 id=$2 bundle=$3 lower=$4
shift 4
runc --root "$state" delete --force "$id" 2>/dev/null || true
rm -rf "$bundle/upper" "$bundle/work"
mkdir -p "$bundle/upper" "$bundle/work" "$bundle/rootfs"
exec {held}> >(exec setsid bash -c '
  trap "" INT TERM HUP
  state=$1 id=$2 bundle=$3; shift 3
  cat > /dev/null
  runc --root "$state" delete --force "$id" || true
  for folder in "$@"; do rmdir "$folder" || true; done
  rm -rf "$bundle/upper" "$bundle/work"' after-container "$state" "$id" "$bundle" "$@" >/dev/null 2>&1)
exec unshare --mount --propagation slave bash -c '
  set -eu
  state=$1 id=$2 bundle=$3 lower=$4
  mount -t overlay "roomfence-$id" -o "lowerdir=$lower,upperdir=$bundle/upper,workdir=$bundle/work" "$bundle/rootfs"
  exec runc --root "$state" run --bundle "$bundle" "$id"' run-container "$state" "$id" "$bundle" "$lower"
