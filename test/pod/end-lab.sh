#!/bin/bash
# end-lab.sh LAB STATE CGROUP-HIERARCHY...: waits for the end of its input, which comes also when the test is killed; then ends all containers of the
# lab, kills whatever else is in its cgroups, and removes these.
trap '' INT TERM HUP
lab=$1 state=$2
shift 2
cat > /dev/null
for _ in $(seq 200); do
  left=
  if [ -d "$state" ]; then
    for id in $(runc --root "$state" list --quiet); do runc --root "$state" delete --force "$id"; done
    rmdir "$state" || left=1
  fi
  for hierarchy in "$@"; do
    [ -d "$hierarchy/$lab" ] || continue
    if [ -e "$hierarchy/$lab/cgroup.kill" ]; then echo 1 > "$hierarchy/$lab/cgroup.kill"; fi
    find "$hierarchy/$lab" -depth -type d -exec rmdir {} + || left=1
  done
  [ -n "$left" ] || exit 0
  sleep 0.05
done 2> /dev/null
exit 1
