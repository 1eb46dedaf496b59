#!/usr/bin/env bash
# Real processes, real kill -9: nodes die in turn under verified writing, all die at once, all are shut down; and nothing that was
# promised is lost. What may be lost, and what not, is judged by scripts/nbd-oracle.py, sector by sector.
#
#   scripts/test-failover.sh [--keep] [--rounds N] [--preset NAME]
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
rounds=2
read_options "--rounds=rounds" "$@"
need_binaries
private_cluster failover
work=$SD_STATE/work
mkdir -p "$work"

oracle() { "$SD_PYTHON" "$SD_ROOT/scripts/nbd-oracle.py" "$@"; }

# A writer in the background: start_writer NAME OPTIONS... ; its history is $work/NAME.
declare -A writers=()
start_writer() {
  local name=$1; shift
  rm -f "$work/$name.stop" "$work/$name.progress"
  oracle run "$work/$name" "$@" >"$work/$name.out" 2>&1 &
  writers[$name]=$!
}
# progress_of NAME: requests answered so far.
progress_of() { local answers=0 rest; { read -r answers rest <"$work/$1.progress"; } 2>/dev/null; echo "${answers:-0}"; }
answered_more_than() { (( $(progress_of "$1") > $2 )); }
advances() { wait_until "${3:-60}" "$1 to have $2 more answers" answered_more_than "$1" $(( $(progress_of "$1") + $2 )); }
# The writer ends and has seen nothing wrong.
finish_writer() {
  local name=$1 code=0
  : >"$work/$name.stop"
  wait "${writers[$name]}" || code=$?
  unset "writers[$name]"
  (( code == 0 )) || { cat "$work/$name.out"; return 1; }
  step "$name: $(<"$work/$name.out")"
}

same_everywhere() {
  local node
  for node in $(all_nodes); do oracle verify "$work/$1" --uri "$(nbd_uri "$node" "$1")" || return 1; done
}
both_start() { start_node "$1" && start_node "$2"; }
at_work() { advances steady 200 && wait_until 30 "fio to write" grep -q 'w(1)' "$work/fio.out"; }
misses_a_node() { ! sees_nodes "$1" "$SD_NODES"; }

phase "Three nodes, three copies"
check "the cluster starts" start_cluster || exit 1
check "the cluster is formatted" format_cluster 3 || exit 1
for disk in steady moving verified; do check "a disk '$disk' is created" dog_on 0 vdi create $disk 128M; done

for victim in $(all_nodes); do
  gateway=$(( (victim + 1) % SD_NODES )) other=$(( (victim + 2) % SD_NODES ))
  phase "kill -9 of node $victim under writing through nodes $gateway and $other"
  start_writer steady --uri "$(nbd_uri $other steady)"
  fio --name=verified --ioengine=nbd --uri="$(nbd_uri $gateway verified)" --rw=randwrite --bs=16k --size=96M --rate=12M,12M --iodepth=16 \
    --verify=crc32c --verify_fatal=1 --verify_state_save=0 --randseed="$victim" --eta=always --eta-interval=500ms --thread >"$work/fio.out" 2>&1 &
  fio_pid=$!
  check "both writers are at work" at_work
  check "node $victim is killed" kill_node "$victim"
  check "writing goes on without it" advances steady 500
  check "the others notice" wait_until 30 "node $victim to be counted out" misses_a_node $gateway
  check "writing still goes on" advances steady 500
  check "node $victim returns" start_node "$victim"
  check "the cluster becomes healthy while writing goes on" wait_healthy "$gateway"
  check "writing went on all the time" advances steady 200
  check "no write was refused or lost" finish_writer steady
  check "fio finds every block as it wrote it" wait $fio_pid || tail -n 20 "$work/fio.out"
  check "the returned node serves all of it" oracle verify "$work/steady" --uri "$(nbd_uri "$victim" steady)"
done

for victim in $(all_nodes); do
  next=$(( (victim + 1) % SD_NODES )) last=$(( (victim + 2) % SD_NODES ))
  phase "kill -9 of node $victim, through which the client writes"
  start_writer moving --uri "$(nbd_uri "$victim" moving)" --uri "$(nbd_uri $next moving)" --uri "$(nbd_uri $last moving)"
  check "the writer is at work" advances moving 500
  check "node $victim is killed" kill_node "$victim"
  check "the client goes on through another node" advances moving 500
  check "node $victim returns" start_node "$victim"
  check "the cluster becomes healthy" wait_healthy $next
  check "nothing acknowledged was lost" finish_writer moving
  check "every node serves the same" same_everywhere moving
done

phase "Two of three nodes die at once, and nothing was flushed"
start_writer steady --uri "$(nbd_uri 0 steady)" --no-final-flush --flush-ratio 0
check "the writer is at work" advances steady 1000
check "the writer pauses" finish_writer steady
kill_node 1
kill_node 2
check "both return" both_start 1 2
check "the cluster becomes healthy" wait_healthy 0
check "every acknowledged write is there" oracle verify "$work/steady" --uri "$(nbd_uri 1 steady)"

phase "Nodes restart one after another under writing"
start_writer moving --uri "$(nbd_uri 0 moving)" --uri "$(nbd_uri 1 moving)" --uri "$(nbd_uri 2 moving)"
check "the writer is at work" advances moving 200
for node in $(all_nodes); do
  check "node $node stops cleanly" stop_node "$node"
  check "writing goes on" advances moving 200
  check "node $node starts" start_node "$node"
  check "the cluster becomes healthy" wait_healthy "$node"
done
check "nothing acknowledged was lost" finish_writer moving
check "and all of it is there" oracle verify "$work/moving" --uri "$(nbd_uri 0 moving)"

for (( round = 1; round <= rounds; round++ )); do
  phase "kill -9 of all nodes ($round of $rounds)"
  start_writer steady --uri "$(nbd_uri 0 steady)"
  check "the writer is at work" advances steady 500
  check "the writer ends with a flush" finish_writer steady
  start_writer moving --uri "$(nbd_uri 1 moving)" --until-lost --flush-ratio 0.02
  check "another writer is at work" advances moving 1000
  kill_all
  check "it saw nothing wrong before it lost its server" finish_writer moving
  check "all nodes start again" start_cluster
  check "the cluster becomes healthy" wait_healthy 0
  check "all flushed data is there" oracle verify "$work/steady" --uri "$(nbd_uri 2 steady)"
  check "what was flushed in the middle of writing is there, and no sector is torn" \
    oracle verify "$work/moving" --uri "$(nbd_uri 0 moving)" --after-power-loss
  check "every node serves the same" same_everywhere moving
done

phase "dog cluster shutdown"
start_writer steady --uri "$(nbd_uri 2 steady)" --no-final-flush --flush-ratio 0
check "the writer is at work" advances steady 500
check "the writer pauses without a flush" finish_writer steady
check "dog cluster shutdown is accepted" dog_on 1 cluster shutdown
for node in $(all_nodes); do check "node $node ends by itself" wait_until "$SD_STOP_TIMEOUT" "node $node to end" node_dead "$node"; done
check "all nodes start again" start_cluster
check "the cluster becomes healthy" wait_healthy 0
check "everything is there" oracle verify "$work/steady" --uri "$(nbd_uri 0 steady)"
check "the other disk too" oracle verify "$work/moving" --uri "$(nbd_uri 1 moving)"
check "all nodes stop cleanly" stop_all
summary
