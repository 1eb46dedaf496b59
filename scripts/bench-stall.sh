#!/usr/bin/env bash
# The longest time for which input and output stand still when a node fails: 4 KB random writes at depth 32 (fio, over NBD) on three nodes
# with three copies, while one node is killed or stopped. What fio calls the maximum completion latency is the stall.
#
#   scripts/bench-stall.sh [options]
#     --rounds N     of each case (default 3); the worst counts
#     --cases LIST   of kill-member,kill-leader,kill-owner,stop-member,stop-leader,stop-owner (default: all). The member is neither
#                    leader nor owner; the owner's disk is used through another node
#     --check        exit with 1 when a stall is longer than the aims: 1 s after a kill, heartbeat timeout + 1 s after a stop
#     --sheep-args S more options for every sheep, such as "--heartbeat-timeout 1500"
#     --keep
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
rounds=3 cases=kill-member,kill-leader,kill-owner,stop-member,stop-leader,stop-owner check=0
read_options "--rounds=rounds --cases=cases --check!=check --sheep-args=SD_SHEEP_ARGS" "$@"
need_binaries
command -v fio >/dev/null || die "fio is missing; run scripts/setup.sh"
SD_NODES=3
private_cluster stall
timeout_ms=3000
[[ $SD_SHEEP_ARGS =~ --heartbeat-timeout[\ =]([0-9]+) ]] && timeout_ms=${BASH_REMATCH[1]}

node_of_address() { local i; for i in $(all_nodes); do [[ $(node_address "$i"):$(node_port "$i") == "$1" ]] && echo "$i"; done; }
json_of() { "$SD_PYTHON" -c "import json, sys; print(next((e['$2'] for e in json.load(sys.stdin) if $1), ''))"; }
leader() { node_of_address "$(dog_on 0 --json node list | json_of "e['leader']" address)"; }
owner() { node_of_address "$(dog_on 0 --json vdi list | json_of "e['name'] == 'bench'" owner)"; }
disk_mb=128

start_cluster || die "the nodes do not start"
format_cluster 3 >/dev/null || die "no format"

# run_case CASE ROUND: sets `stall`, in ms. (Not in a subshell: the nodes are children of this one.)
run_case() {
  local way=${1%-*} role=${1#*-} gateway victim own led pid code=0
  led=$(leader)
  # The node through which a disk is first used owns it; who leads must be another, unless that is the point.
  case $role in
    member) own=$(( (led + 1) % 3 )) victim=$(( (led + 2) % 3 )) gateway=$own ;;
    leader) own=$(( (led + 1 + $2 % 2) % 3 )) victim=$led gateway=$own ;;
    owner) own=$(( (led + 1) % 3 )) victim=$own gateway=$(( (led + 2) % 3 )) ;;
  esac
  dog_on 0 vdi create bench ${disk_mb}M >/dev/null || return 1
  fio --name=fill --ioengine=nbd --uri="$(nbd_uri "$own" bench)" --rw=write --bs=1M --size=${disk_mb}M --iodepth=8 --thread --end_fsync=1 >/dev/null || return 1
  [[ $(owner) == "$own" && $(leader) == "$led" ]] || warn "$1: the disk belongs to node $(owner) instead of $own, and node $(leader) leads"
  fio --name=stall --ioengine=nbd --uri="$(nbd_uri "$gateway" bench)" --rw=randwrite --bs=4k --iodepth=32 --size=${disk_mb}M --thread --time_based \
    --runtime=$(( timeout_ms / 1000 + 5 )) --eta=always --eta-interval=500ms --output-format=json --output="$SD_STATE/fio.json" >"$SD_STATE/fio.out" 2>&1 &
  pid=$!
  wait_until 30 "fio to write" grep -q 'w(1)' "$SD_STATE/fio.out" && sleep 1.5
  case $way in
    kill) kill_node "$victim" ;;
    stop) kill -STOP "$(node_pid "$victim")" ;;
  esac
  wait $pid || code=$?
  case $way in
    kill) start_node "$victim" ;;
    stop) kill -CONT "$(node_pid "$victim")" ;;
  esac
  wait_healthy 0 || return 1
  dog_on 0 vdi delete bench >/dev/null || return 1
  (( code == 0 )) || { echo "fio failed: $(tail -c 400 "$SD_STATE/fio.json")" >&2; return 1; }
  stall=$("$SD_PYTHON" - "$SD_STATE/fio.json" <<'PY'
import json, sys
text = open(sys.argv[1]).read()
write = json.loads(text[text.index('{'):])['jobs'][0]['write']
print(int(write['clat_ns']['max'] / 1e6))
PY
  ) && [[ -n $stall ]]
}
phase "The longest stall under 4 KB random writes at depth 32, three nodes, three copies, heartbeat timeout $timeout_ms ms"
missed=0
printf '%-14s %12s %10s   %s\n' case 'longest (ms)' 'aim (ms)' 'each round'
IFS=, read -ra case_list <<<"$cases"
for one in "${case_list[@]}"; do
  worst=0 each='' aim=1000
  [[ $one == stop-* ]] && aim=$(( timeout_ms + 1000 ))
  for (( round = 1; round <= rounds; round++ )); do
    run_case "$one" "$round" || die "$one could not be measured"
    each+="$stall "
    (( stall > worst )) && worst=$stall
  done
  printf '%-14s %12d %10d   %s\n' "$one" "$worst" "$aim" "$each"
  (( worst <= aim )) || missed=$(( missed + 1 ))
done
stop_all || exit 1
(( missed == 0 )) || echo "$missed cases miss their aim"
(( ! check || missed == 0 ))
