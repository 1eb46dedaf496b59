#!/usr/bin/env bash
# The real-world twin of the simulator: real nodes, each in a network namespace of its own on a bridge and with a small file system of its
# own, under a load that describes itself; and everything goes wrong in turn: kill -9, SIGSTOP, partitions of several shapes, delay
# and loss, paths of little bandwidth, full disks, a wiped disk, the death of all nodes at once. After each fault the world is healed and the cluster must become
# healthy. At the end every node must show the same disks, the copies at rest must be equal, and the simulator's own checker
# (sheepsim --check-history) judges everything that the clients saw.
#
#   scripts/test-chaos.sh [options]
#     --seconds N    how long faults go on (default 600)
#     --short        about a minute, each kind of fault once at most
#     --seed S       of the order of faults (default: a new one, which is printed)
#     --nodes N      from 3 to 9 (default 4)
#     --only LIST    only these kinds of faults, separated by commas
#     --list         the kinds
#     --keep         leave data, logs and the history
#     --preset NAME
#
# Processes, interfaces and mounts live in namespaces that end with the script, however it ends. Needs root or user namespaces, bridges,
# veth, iptables; where they are missing it says so and exits with 77, having tested nothing.
set -uo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
kinds=(kill kill_two kill_leader pause pause_leader cut split oneway_in oneway_out bridge slow narrow full restart storm power wipe)
seconds=600 short=0 seed='' nodes=4 only='' list=0
read_options "--seconds=seconds --short!=short --seed=seed --nodes=nodes --only=only --list!=list" "$@"
(( short )) && seconds=60
(( list )) && { printf '%s\n' "${kinds[@]}"; exit 0; }

not_here() {
  echo "CANNOT BE RUN HERE: $*. Nothing was tested."
  exit 77
}

# ---- the namespaces --------------------------------------------------------------------------------------------------------------

if [[ -z ${SD_CHAOS_INSIDE-} ]]; then
  enter=(unshare --mount --net --pid --fork --kill-child --mount-proc)
  (( EUID == 0 )) || enter=(unshare --user --map-root-user --mount --net --pid --fork --kill-child --mount-proc)
  "${enter[@]}" true 2>/dev/null || not_here "this user may not make network, mount and process namespaces (run it as root, in a container that may)"
  for program in ip tc iptables nsenter mkfs.ext4 fio; do
    PATH=$PATH:/usr/sbin:/sbin command -v $program >/dev/null || not_here "$program is missing (scripts/setup.sh installs it)"
  done
  # From here the interrupt key reaches the script inside by itself.
  trap '' INT
  SD_CHAOS_INSIDE=1 PATH=$PATH:/usr/sbin:/sbin "${enter[@]}" "$0" "$@"
  exit $?
fi

need_binaries
for program in sheepsim storedump; do [[ -x $SD_BIN/$program ]] || die "$SD_BIN/$program is missing: build it"; done
[[ $nodes =~ ^[3-9]$ ]] || die "from 3 to 9 nodes, not '$nodes'"
SD_NODES=$nodes SD_BASE_PORT=7000 SD_NBD_BASE_PORT=10809
[[ -n $seed ]] || seed=$(( $(date +%s%N) / 1000 % 1000000 ))
[[ -z $only ]] || IFS=, read -ra kinds <<<"$only"

node_address() { echo "10.77.0.$(( $1 + 1 ))"; }
node_port() { echo 7000; }
node_nbd_port() { echo 10809; }
declare -A holders=()   # the process that keeps a node's network namespace
enter_node() { enter=(nsenter --net="/proc/${holders[$1]}/ns/net" --); }
in_node() { local enter node=$1; shift; enter_node "$node"; "${enter[@]}" "$@"; }

SD_STATE=$(mktemp -d "${SD_TEST_DIR:-${TMPDIR:-/tmp}}/sheepdog-chaos-XXXXXX")
end_chaos() {
  local code=$? i
  kill_all
  for i in $(all_nodes); do umount "$(node_dir "$i")" 2>/dev/null; done
  rm -f "$SD_STATE"/disk*.img
  end_private_cluster_files "$code"
}
end_private_cluster_files() {
  if (( $1 == 0 && ! KEEP )); then rm -rf "$SD_STATE"; else echo "seed $seed; logs and history are in $SD_STATE"; fi
}
trap end_chaos EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

make_network() {
  ip link set lo up && ip link add sdbr type bridge && ip addr add 10.77.0.100/24 dev sdbr && ip link set sdbr up || return 1
  local i
  for i in $(all_nodes); do
    unshare --net sleep infinity </dev/null >/dev/null 2>&1 &
    holders[$i]=$!
    wait_until 10 "a network namespace" has_own_network "$i" || return 1
    ip link add "sdv$i" type veth peer name eth0 netns "${holders[$i]}" && ip link set "sdv$i" master sdbr up || return 1
    in_node "$i" ip link set lo up
    in_node "$i" ip addr add "$(node_address "$i")/24" dev eth0 && in_node "$i" ip link set eth0 up || return 1
    in_node "$i" iptables -L -n >/dev/null || return 1
  done
}
has_own_network() { [[ $(readlink "/proc/${holders[$1]}/ns/net") != "$(readlink /proc/$$/ns/net)" && $(readlink "/proc/${holders[$1]}/exe") == */sleep ]]; }

disk_mb=352
make_disks() {
  local i
  for i in $(all_nodes); do
    mkdir -p "$(node_dir "$i")"
    truncate -s ${disk_mb}M "$SD_STATE/disk$i.img" && mkfs.ext4 -q -m 0 -O ^has_journal "$SD_STATE/disk$i.img" || return 1
    if mount -o loop "$SD_STATE/disk$i.img" "$(node_dir "$i")" 2>/dev/null; then
      rmdir "$(node_dir "$i")/lost+found"
    else
      step "no loop devices: node $i gets a tmpfs"
      mount -t tmpfs -o size=${disk_mb}m none "$(node_dir "$i")" || return 1
    fi
  done
}

# ---- the load --------------------------------------------------------------------------------------------------------------------

history=$SD_STATE/history
start_load() {
  local i args=() names=(alpha beta gamma)
  for i in 0 1 2; do args+=(--disk "$(( i + 1 )):${names[i]}"); done
  for i in $(all_nodes); do args+=(--node "$(node_address "$i"):$(node_nbd_port "$i")"); done
  coproc LOAD { "$SD_PYTHON" "$SD_ROOT/scripts/nbd-load.py" "$history" "${args[@]}" --seed "$seed" --clients 6 2>>"$SD_STATE/load.log"; }
  load_pid=$LOAD_PID load_in=${LOAD[1]} load_out=${LOAD[0]}
  load_says 30
}
# Reads the load's one line of answer; fails unless it is "ok ...".
load_says() {
  load_answer=''
  read -r -t "$1" -u "$load_out" load_answer || { echo "the load does not answer: $(tail -n 3 "$SD_STATE/load.log")"; return 1; }
  [[ $load_answer == ok* ]] || { echo "the load: $load_answer"; return 1; }
}
tell_load() { echo "$*" >&"$load_in"; load_says 200; }
end_load() {
  local code=0
  tell_load stop || return 1
  wait "$load_pid" || code=$?
  (( code == 0 )) || { tail -n 20 "$SD_STATE/load.log"; return 1; }
}

# ---- faults ----------------------------------------------------------------------------------------------------------------------

RANDOM=$(( seed % 32768 ))
draw() { REPLY=$(( $1 + RANDOM % ($2 - $1 + 1) )); }   # a number from A to B
draw_node() { draw 0 $(( SD_NODES - 1 )); }
# How long a fault lasts: from hardly any time to more than the time after which a silent node is taken out.
draw_pause() { if (( short )); then draw 2 40; else draw 2 90; fi; pause=$(( REPLY / 10 )).$(( REPLY % 10 )); }
last_for() { draw_pause; tells "for $pause s"; sleep "$pause"; }

drop_from() { in_node "$1" iptables -A INPUT -s "$(node_address "$2")" -j DROP; }   # node $1 hears nothing from node $2
drop_between() { drop_from "$1" "$2" && drop_from "$2" "$1"; }
delays=() narrowed=()
heal_network() {
  local i pid
  for i in $(all_nodes); do in_node "$i" iptables -F INPUT || return 1; done
  for i in "${narrowed[@]}"; do tc qdisc del dev "sdv$i" root; in_node "$i" tc qdisc del dev eth0 root; done
  narrowed=()
  for pid in "${delays[@]}"; do kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done
  delays=()
}
start_delay() {
  local i=$1 other out=$SD_STATE/delay$1.out enter
  for other in $(all_nodes); do
    (( other == i )) || in_node "$i" iptables -A INPUT -s "$(node_address "$other")" -j NFQUEUE --queue-num 7 --queue-bypass || return 1
  done
  : >"$out"
  enter_node "$i"
  "${enter[@]}" "$SD_PYTHON" "$SD_ROOT/scripts/netdelay.py" --queue 7 --delay "$2" --jitter "$3" --loss "$4" --seed "$seed" >"$out" 2>&1 &
  delays+=($!)
  wait_until 10 "the delay at node $i" grep -q ready "$out"
}
leader() {
  local i
  for i in $(all_nodes); do
    node_alive "$i" || continue
    REPLY=$(dog_on "$i" --timeout 5 --json node list 2>/dev/null | "$SD_PYTHON" -c '
import json, sys
for node in json.load(sys.stdin):
    if node.get("leader"): print(int(node["address"].split(":")[0].rsplit(".", 1)[1]) - 1)' 2>/dev/null)
    [[ -n $REPLY ]] && return 0
  done
  return 1
}
restart_nodes() { local i; for i in "$@"; do start_again "$i" || return 1; done; }
start_again() {
  local j others=()
  for j in $(all_nodes); do (( j > $1 )) && others+=(--seed "$(node_address "$j"):$(node_port "$j")"); done
  start_node "$1" --journal-size 32 "${others[@]}"
}
# What the fault does, for people; and to which nodes, for the measure of stalls.
tells() { detail+="$*; "; }
concerns() { (( $# )) && tells "at $(sed 's/ /, /g' <<<"$*")"; tell_load mark "$kind" "$@"; }

fault_kill() { draw_node; local v=$REPLY; concerns "$v" && kill_node "$v" && last_for && start_again "$v"; }
fault_kill_leader() { leader || return 1; local v=$REPLY; concerns "$v" && kill_node "$v" && last_for && start_again "$v"; }
fault_kill_two() {
  draw_node; local a=$REPLY; draw 1 $(( SD_NODES - 1 )); local b=$(( (a + REPLY) % SD_NODES ))
  concerns $a $b && kill_node $a && kill_node $b && last_for && restart_nodes $a $b
}
stop_and_continue() { concerns "$1" && kill -STOP "$(node_pid "$1")" && last_for && kill -CONT "$(node_pid "$1")"; }
fault_pause() { draw_node; stop_and_continue "$REPLY"; }
fault_pause_leader() { leader && stop_and_continue "$REPLY"; }
fault_cut() {
  draw_node; local v=$REPLY i
  concerns "$v" || return 1
  for i in $(all_nodes); do (( i == v )) || drop_between "$v" "$i" || return 1; done
  last_for
}
fault_split() {
  draw_node; local from=$REPLY i j
  local left=() right=()
  for i in $(all_nodes); do
    if (( (i + from) % SD_NODES < SD_NODES / 2 )); then left+=("$i"); else right+=("$i"); fi
  done
  concerns "${left[@]}" || return 1
  for i in "${left[@]}"; do for j in "${right[@]}"; do drop_between "$i" "$j" || return 1; done; done
  last_for
}
fault_oneway_in() {
  draw_node; local v=$REPLY i
  concerns "$v" || return 1
  for i in $(all_nodes); do (( i == v )) || drop_from "$v" "$i" || return 1; done
  last_for
}
fault_oneway_out() {
  draw_node; local v=$REPLY i
  concerns "$v" || return 1
  for i in $(all_nodes); do (( i == v )) || drop_from "$i" "$v" || return 1; done
  last_for
}
# One node sees all; the others form two sides that do not see each other.
fault_bridge() {
  draw_node; local middle=$REPLY i j
  concerns || return 1
  for (( i = 1; i < SD_NODES; i++ )); do
    for (( j = i + 1; j < SD_NODES; j++ )); do
      (( (i <= (SD_NODES - 1) / 2) == (j <= (SD_NODES - 1) / 2) )) || drop_between $(( (middle + i) % SD_NODES )) $(( (middle + j) % SD_NODES )) || return 1
    done
  done
  last_for
}
fault_slow() {
  local i
  concerns || return 1
  draw 1 30; local delay=$REPLY; draw 0 20; local jitter=$REPLY; draw 0 5; local loss=$REPLY
  tells "$delay to $(( delay + jitter )) ms each way, $loss % lost"
  for i in $(all_nodes); do start_delay "$i" "$delay" "$jitter" "$loss" || return 1; done
  last_for
}
# All paths of one node together carry little, and more waits for them than they carry within a lease. It lives and is heard, so it should not be
# taken for silent; that is checked in the simulator, since on a busy machine it is a matter of speed. Here it is told.
fault_narrow() {
  local v w i rate before limit writers=()
  draw_node; v=$REPLY; draw 1 $(( SD_NODES - 1 )); w=$(( (v + REPLY) % SD_NODES ))
  dog_on "$v" vdi list | grep -qw bulk || dog_on "$v" vdi create bulk 24M || return 1
  concerns "$v" || return 1
  before=$(removed_as_silent)
  draw 30 80; rate=$REPLY
  limit=(root tbf rate "${rate}mbit" burst 64k limit 512k)
  tells "$rate Mbit/s, much written through it and $w"
  narrowed+=("$v")
  tc qdisc add dev "sdv$v" "${limit[@]}" && in_node "$v" tc qdisc add dev eth0 "${limit[@]}" || return 1
  for i in "$v" "$w"; do
    fio --name=bulk --thread --ioengine=nbd --uri="nbd://$(node_address "$i"):$(node_nbd_port "$i")/bulk" --rw=write --bs=1M --size=24M --iodepth=32 \
      --time_based --runtime=60 >"$SD_STATE/bulk$i.log" 2>&1 &
    writers+=($!)
  done
  sleep 12
  kill -KILL "${writers[@]}" 2>/dev/null
  wait "${writers[@]}" 2>/dev/null
  tells "it sent $(in_node "$v" tc -s qdisc show dev eth0 | awk '/Sent/ { print int($2 / 1e6) }') MB; taken for silent: $(( $(removed_as_silent) - before ))"
}
removed_as_silent() { cat "$SD_STATE"/node*.log | grep -c 'it is silent'; }
# Takes all but a little of the space, and the little is drawn: the disk runs full at another place each time.
fault_full() {
  draw_node; local v=$REPLY free
  draw 0 600; local left=$(( REPLY * 4096 ))
  concerns "$v" || return 1
  free=$(df -B1 --output=avail "$(node_dir "$v")" | tail -n 1)
  tells "all but $left bytes of $free are taken"
  (( free > left )) && fallocate -l $(( free - left )) "$(node_dir "$v")/filler" || dd if=/dev/zero of="$(node_dir "$v")/filler" bs=4096 2>/dev/null
  last_for
  if draw 0 1 && (( REPLY )); then
    tells "and it is killed, and starts on the full disk"
    kill_node "$v" && start_again "$v" || return 1
    last_for
  fi
  rm -f "$(node_dir "$v")/filler"
}
# One thing after the other, and no time to recover in between.
fault_storm() {
  concerns || return 1
  draw 4 8; local left=$REPLY v w
  while (( left-- > 0 )); do
    draw_node; v=$REPLY; draw 1 $(( SD_NODES - 1 )); w=$(( (v + REPLY) % SD_NODES ))
    draw 0 15; pause=$(( REPLY / 10 )).$(( REPLY % 10 ))
    draw 0 5
    case $REPLY in
      0 | 1) tells "kill $v, $pause s"; kill_node $v && sleep "$pause" && start_again $v || return 1 ;;
      2) tells "kill $v and $w, $pause s"; kill_node $v && kill_node $w && sleep "$pause" && restart_nodes $w $v || return 1 ;;
      3) tells "stop $v, $pause s"; kill -STOP "$(node_pid $v)" && sleep "$pause" && kill -CONT "$(node_pid $v)" || return 1 ;;
      4) tells "cut $v from $w, $pause s"; drop_between $v $w && sleep "$pause" || return 1 ;;
      5) tells "repair, $pause s"; heal_network && sleep "$pause" || return 1 ;;
    esac
  done
}
fault_restart() { draw_node; local v=$REPLY; concerns "$v" && stop_node "$v" && last_for && start_again "$v"; }
fault_power() {
  local i order=()
  concerns $(all_nodes) || return 1
  kill_all
  tell_load power || return 1
  for i in $(all_nodes); do order+=("$i"); done
  shuffle "${order[@]}"
  tells "they start in the order ${shuffled[*]}"
  restart_nodes "${shuffled[@]}"
}
fault_wipe() {
  draw_node; local v=$REPLY
  concerns "$v" && kill_node "$v" && last_for || return 1
  find "$(node_dir "$v")" -mindepth 1 -delete
  wiped+=("$(node_address "$v"):$(node_port "$v")")
  start_again "$v"
}
wiped=()

shuffled=()
shuffle() {
  local i
  shuffled=("$@")
  for (( i = ${#shuffled[@]} - 1; i > 0; i-- )); do
    draw 0 $i
    local swap=${shuffled[i]}
    shuffled[i]=${shuffled[REPLY]} shuffled[REPLY]=$swap
  done
}

# All nodes are up, and nothing is wrong but that the member that a wiped disk was is gone.
healthy() { (( $(nodes_up "$1") == SD_NODES )) && healthy_without "$1" "${wiped[@]}"; }
all_healthy() { local i; for i in $(all_nodes); do healthy "$i" || return 1; done; }
becomes_healthy() {
  wait_until "$SD_HEALTH_TIMEOUT" "a healthy cluster" all_healthy && return 0
  local i
  for i in $(all_nodes); do echo "node $i:"; dog_on "$i" --timeout 5 cluster check; done
  dog_on 0 --timeout 5 node list
  return 1
}

# ---- the run ---------------------------------------------------------------------------------------------------------------------

phase "Chaos, seed $seed: $nodes nodes, $seconds s, in $SD_STATE"
make_network 2>"$SD_STATE/network.log" || { cat "$SD_STATE/network.log"; not_here "bridges, veth pairs or iptables do not work"; }
make_disks || not_here "no file systems can be mounted"
check "the nodes start" start_cluster --journal-size 32 || exit 1
check "the cluster is formatted" format_cluster 3 || exit 1
check "the share of a node that is away goes to others at once" dog_on 0 cluster grace 0
for disk in alpha beta gamma; do check "a disk '$disk' is created" dog_on 0 vdi create $disk 48M || exit 1; done
start_load || { fail "the load starts" "$(cat "$SD_STATE/load.log")"; exit 1; }
check "the load is at work" tell_load await 20 60

# One fault, and the end of it. What is said about it begins with `detail`.
one_round() {
  local healed
  "fault_$kind" || return 1
  heal_network || return 1
  healed=$(now_ms)
  becomes_healthy || return 1
  tells "healthy after $(( $(now_ms) - healed )) ms"
  tell_load await 5 60 && tell_load mark no_fault && tell_load settle
}

begin=$SECONDS rounds=0 kind=''
while (( SECONDS - begin < seconds && ! (short && rounds) )); do
  shuffle "${kinds[@]}"
  for kind in "${shuffled[@]}"; do
    (( SECONDS - begin < seconds )) || break
    # A member that was wiped keeps its vote: two of them would be too many.
    [[ $kind == wipe ]] && (( ${#wiped[@]} )) && continue
    rounds=$(( rounds + 1 )) detail=''
    at=$(( SECONDS - begin ))
    run_quietly one_round
    if (( code == 0 )); then pass "$at s: $kind: ${detail%; }"; else fail "$at s: $kind: ${detail%; }" "$output"; exit 1; fi
  done
done

phase "$rounds faults are over"
tell_load progress && step "${load_answer#ok }"
check "the load comes to rest" tell_load pause 60
for node in $(all_nodes); do check "all disks are read through node $node" tell_load verify "$node" 120; done
tell_load stalls && stalls=${load_answer#ok }
check "the clients end, and no server broke the protocol" end_load
kill_all  # at one moment: a node that stops after others goes on without them
for node in $(all_nodes); do rm -f "$(node_dir "$node")/filler"; done
# shellcheck disable=SC2046
check "three equal copies of each object are on disk" compare_copies 3 "" $(all_nodes)
check "no daemon is left" eval '! pgrep -x sheep'
run_quietly "$SD_BIN/sheepsim" --check-history "$history"
if (( code == 0 )); then pass "the checker finds nothing wrong with what the clients saw: ${output##*$'\n'}"; else fail "the checker judges what the clients saw (exit code $code)" "$output"; fi

phase "The longest stalls (ms)"
printf '%-16s %20s %28s\n' fault 'through other nodes' 'through the nodes concerned'
tr '|' '\n' <<<"$stalls" | sort | while IFS=';' read -r label others own; do printf '%-16s %20s %28s\n' "$label" "$others" "$own"; done
summary
