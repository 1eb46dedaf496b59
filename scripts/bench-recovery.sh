#!/usr/bin/env bash
# Measures recovery on real processes: three nodes with three copies on this machine.
#
#   a  a node that was away for a short while: bytes copied to it, against the bytes that clients wrote meanwhile
#   b  a node that lost its disk: how fast it gets everything back while no client works, against cp of another node's directory; from its
#      start, which is a second of joining, and while it copies
#   c  the same while clients read and write: how their 99th percentile grows, at the default throttle
#
#   scripts/bench-recovery.sh [options]
#     --parts LIST     of a,b,c (default: all)
#     --size MB        of the disk, filled before (default 1024)
#     --seconds S      of each fio run of part c (default 10)
#     --dir DIR        where the nodes keep their data (default: a new directory in $TMPDIR or /tmp)
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parts=a,b,c size=1024 seconds=10
read_options "--parts=parts --size=size --seconds=seconds --dir=SD_TEST_DIR" "$@"
for program in fio; do command -v $program >/dev/null || die "$program is missing; run scripts/setup.sh"; done
need_binaries
SD_NODES=3 SD_COPIES=3
private_cluster bench-recovery

# redundant N: N nodes are up, and every object has all its copies.
redundant() {
  dog_on 0 --json cluster info | "$SD_PYTHON" -c '
import json, sys
info = json.load(sys.stdin)
sys.exit(not (info["nodes_up"] == int(sys.argv[1]) and not info["recovering"]))' "$1"
}
down_to() { [[ $(nodes_up 0) == "$1" ]]; }
# pulled I: bytes that node I has copied from others since its start.
pulled() {
  dog_on 0 --json node recovery | "$SD_PYTHON" -c '
import json, sys
print(sum(n.get("pulled_bytes", 0) for n in json.load(sys.stdin)["nodes"] if n["address"].endswith(":" + sys.argv[1])))' "$(node_port "$1")"
}
has_pulled() { before=$(pulled "$1") && (( before > 0 )); }
lose_node() { kill_node 2 && wait_until 30 "node 2 to be removed" down_to 2; }
# The node comes back with nothing: as a new member that gets every object.
come_back_empty() { rm -rf "$(node_dir 2)" && start_node 2; }
fio_run() {  # output file, options...
  local out=$1; shift
  fio --name=load --ioengine=nbd --uri="$(nbd_unix_uri 0 disk)" --size="${size}M" --output-format=json --output="$out" "$@" >/dev/null
}
# The 99th percentile over reads and writes, in microseconds.
p99() {
  "$SD_PYTHON" -c '
import json, sys
job = json.load(open(sys.argv[1]))["jobs"][0]
print(int(max(job[kind]["clat_ns"].get("percentile", {}).get("99.000000", 0) for kind in ("read", "write")) / 1000))' "$1"
}
rate() { awk -v bytes="$1" -v ms="$2" 'BEGIN { printf "%.0f", bytes / 1048576 / (ms / 1000) }'; }

phase "Three nodes, a disk of $size MB"
start_cluster && format_cluster 3 >/dev/null || die "the cluster does not start"
dog_on 0 vdi create disk "${size}M" >/dev/null || die "the disk cannot be made"
fio_run "$SD_STATE/fill.json" --rw=write --bs=1M --iodepth=8 --end_fsync=1 --randrepeat=0 --refill_buffers || die "the disk cannot be filled"
wait_until 60 "a redundant disk" redundant 3 || exit 1

if [[ ,$parts, == *,a,* ]]; then
  phase "a: a short absence"
  lose_node || exit 1
  for job in "randwrite 4k $(( size / 64 ))" "write 1M $(( size / 8 ))"; do
    read -r rw bs written <<<"$job"
    fio_run "$SD_STATE/away.json" --rw="$rw" --bs="$bs" --iodepth=8 --io_size="${written}M" --end_fsync=1 --refill_buffers --randrepeat=0
    start_node 2 || exit 1
    wait_until 120 "a redundant disk" redundant 3 || exit 1
    copied=$(pulled 2)
    echo "$rw of $bs: $written MB written while it was away, $(( copied / 1048576 )) MB copied: factor $(awk -v c="$copied" -v w="$written" 'BEGIN { printf "%.2f", c / w / 1048576 }')"
    lose_node || exit 1
  done
  start_node 2 || exit 1
  wait_until 120 "a redundant disk" redundant 3 || exit 1
fi

if [[ ,$parts, == *,b,* ]]; then
  phase "b: a lost disk, no clients"
  lose_node || exit 1
  sync
  begin=$(now_ms)
  cp -r --sparse=auto "$(node_dir 0)/obj" "$SD_STATE/copy" && in_cache=$(now_ms) && sync -f "$SD_STATE/copy"
  end=$(now_ms)
  bytes=$(( $(du -s --block-size=1 "$SD_STATE/copy" | cut -f1) ))
  rm -rf "$SD_STATE/copy"
  cached=$(rate "$bytes" $(( in_cache - begin + 1 ))) durable=$(rate "$bytes" $(( end - begin + 1 )))
  come_back_empty || exit 1
  begin=$(now_ms)
  wait_until 60 "the first copy" has_pulled 2 || exit 1
  first=$(now_ms)
  wait_until 300 "a redundant disk" redundant 3 || exit 1
  end=$(now_ms) copied=$(pulled 2)
  percent() { echo $(( $1 * 100 / (durable > 0 ? durable : 1) )); }
  recovered=$(rate "$copied" $(( end - begin ))) copying=$(rate $(( copied - before )) $(( end - first + 1 )))
  echo "cp: $cached MB/s, with its sync $durable MB/s; recovery, synced: $copying MB/s while it copies ($(percent "$copying")% of cp with its sync), $recovered MB/s from the start of the node ($(percent "$recovered")%)"
fi

if [[ ,$parts, == *,c,* ]]; then
  phase "c: a lost disk, clients at work"
  load=(--rw=randrw --bs=4k --iodepth=4 --time_based --runtime="$seconds" --randrepeat=0)
  fio_run "$SD_STATE/before.json" "${load[@]}"
  lose_node || exit 1
  come_back_empty || exit 1
  begin=$(now_ms)
  fio_run "$SD_STATE/during.json" "${load[@]}"
  copied=$(pulled 2) took=$(( $(now_ms) - begin ))
  before=$(p99 "$SD_STATE/before.json") during=$(p99 "$SD_STATE/during.json")
  echo "99th percentile: $before us before, $during us during recovery (factor $(awk -v a="$before" -v b="$during" 'BEGIN { printf "%.1f", b / a }')), which copied $(rate "$copied" "$took") MB/s meanwhile"
  wait_until 300 "a redundant disk" redundant 3 || exit 1
fi
dog_on 0 node recovery
stop_all
