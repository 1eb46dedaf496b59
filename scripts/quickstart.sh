#!/usr/bin/env bash
# The whole of Sheepdog's main job on a machine that has nothing but Debian 12: installs packages, builds, starts three nodes, makes a
# disk with three copies, lets QEMU's tools write and read it, kills a node, and shows that the data is still right.
#
#   scripts/quickstart.sh           everything is stopped and deleted at the end
#   scripts/quickstart.sh --keep    leaves the cluster running to play with
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

keep=0
case ${1-} in
  '') ;;
  --keep) keep=1 ;;
  *) usage; [[ $1 == -h || $1 == --help ]] && exit 0; exit 64 ;;
esac

"$SD_ROOT/scripts/setup.sh" || exit 1

phase "Building (release, $SD_JOBS jobs)"
(cd "$SD_ROOT" && cmake --preset "$SD_PRESET" >/dev/null && cmake --build --preset "$SD_PRESET" -j "$SD_JOBS" --target sheep dog) || die "the build failed"

if (( keep )); then
  # The place where scripts/cluster.sh finds it again.
  [[ ! -e $SD_STATE/nodes ]] || die "there is a cluster in $SD_STATE already; scripts/cluster.sh clean removes it"
  mkdir -p "$SD_STATE"
  echo "$SD_NODES" >"$SD_STATE/nodes"
  for i in $(all_nodes); do
    for port in "$(node_port "$i")" "$(node_nbd_port "$i")"; do
      ! port_open "$port" || die "port $port is in use; set SD_BASE_PORT or SD_NBD_BASE_PORT to others"
    done
  done
  image=$SD_STATE
else
  private_cluster quickstart
  image=$SD_STATE
fi
# Prints a command as one would type it, then runs it.
show() {
  local word line=''
  for word in "$@"; do
    word=${word#"$SD_BIN/"}
    if [[ $word == *[[:space:]?]* ]]; then line+=" '$word'"; else line+=" $word"; fi
  done
  printf '%s$%s%s\n' "$bold" "$line" "$plain"
  "$@"
}
must() { show "$@" || die "that must not fail; logs are in $SD_STATE"; }
must_hold() { local what=$1; shift; if "$@"; then pass "$what"; else fail "$what"; die "logs are in $SD_STATE"; fi; }

phase "Three nodes, formatted with $SD_COPIES copies"
start_cluster || die "the nodes did not come up"
must "$dog" -p "$(node_port 0)" cluster format -c "$SD_COPIES"
wait_healthy 0 || die "the cluster does not become healthy; logs are in $SD_STATE"
must "$dog" -p "$(node_port 0)" node list

phase "A virtual disk, given to QEMU's tools"
must "$dog" -p "$(node_port 0)" vdi create mydisk 1G
uri=$(nbd_uri 0 mydisk)
must qemu-img info "$uri"
must qemu-io -f raw -c 'write -P 0xab 0 4M' -c 'write -P 0xcd 900M 64k' -c flush "$uri"
must qemu-io -f raw -c 'read -P 0xab 0 4M' -c 'read -P 0xcd 900M 64k' -c 'read -P 0 100M 1M' "$uri"

phase "A file system, copied onto a disk and compared"
mkdir -p "$image/files"
cp -r "$SD_ROOT/core" "$SD_ROOT/docs" "$SD_ROOT/scripts" "$image/files/"
rm -f "$image/fs.raw"
truncate -s 128M "$image/fs.raw"
must /sbin/mkfs.ext4 -q -d "$image/files" "$image/fs.raw"
must "$dog" -p "$(node_port 0)" vdi create files 128M
must qemu-img convert -n -f raw -O raw "$image/fs.raw" "$(nbd_uri 0 files)"
must_hold "the disk equals the image" show qemu-img compare -f raw -F raw "$image/fs.raw" "$(nbd_uri 0 files)"

phase "kill -9 of one node"
victim=$(( SD_NODES - 1 ))
step "kill -9 $(node_pid "$victim")  # node $victim"
kill_node "$victim"
must_hold "written data is still right" show qemu-io -f raw -c 'read -P 0xab 0 4M' -c 'read -P 0xcd 900M 64k' "$uri"
must_hold "writing goes on" show qemu-io -f raw -c 'write -P 0xef 8M 1M' -c flush -c 'read -P 0xef 8M 1M' "$uri"
must_hold "the disk still equals the image" qemu-img compare -f raw -F raw "$image/fs.raw" "$(nbd_uri 1 files)"

phase "The node returns"
start_node "$victim" || die "node $victim does not come back"
must_hold "the cluster is healthy again" wait_healthy 0
must_hold "the returned node serves what was written while it was away" \
  show qemu-io -f raw -c 'read -P 0xef 8M 1M' -c 'read -P 0xab 0 4M' "$(nbd_uri "$victim" mydisk)"
must "$dog" -p "$(node_port 0)" cluster info
must "$dog" -p "$(node_port 0)" node list
must "$dog" -p "$(node_port 0)" vdi list

rm -rf "$image/files" "$image/fs.raw"
phase "All of it works"
if (( keep )); then
  cat <<END
The cluster runs on. What to try next:
  give the disk to a virtual machine:  qemu-system-x86_64 -m 2G -drive file=$uri,format=raw,if=virtio ...
  look at it with other tools:         nbdinfo $uri
  what the cluster thinks:             $dog cluster info; $dog cluster check; $dog vdi list
  stop and start all nodes:            scripts/cluster.sh stop; scripts/cluster.sh start
  throw everything away:               scripts/cluster.sh clean
  run a day of faults in the simulator: cmake --build --preset sim && build/sim/bin/sheepsim --seed 1
END
else
  cat <<END
Everything was stopped and deleted. What to try next:
  scripts/quickstart.sh --keep         the same, and the cluster stays up
  scripts/cluster.sh start --format    three nodes to play with
  scripts/test.sh                      all tests
  scripts/bench.sh                     the speed of this machine, next to other NBD servers
END
fi
