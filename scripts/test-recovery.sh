#!/usr/bin/env bash
# What a cluster does about nodes that fail and come back, with real processes and real clients: detection, a node added, data moved to
# it, members that return after writes, starts of the whole cluster in every order and with a node missing, a wiped disk, a disk that was
# deleted while a node was away. Every step writes, reads everything back through every node (scripts/nbd-oracle.py judges it sector by
# sector), and compares the copies at rest.
#
#   scripts/test-recovery.sh [--keep] [--preset NAME]
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
read_options '' "$@"
need_binaries
SD_NODES=3
private_cluster recovery
work=$SD_STATE/work
mkdir -p "$work"
oracle() { "$SD_PYTHON" "$SD_ROOT/scripts/nbd-oracle.py" "$@"; }

# start_writer NODE...: writes to `data` at random through these nodes, until finish_writer.
start_writer() {
  local node uris=()
  for node in "$@"; do uris+=(--uri "$(nbd_uri "$node" data)"); done
  rm -f "$work/data.stop" "$work/data.progress"
  oracle run "$work/data" "${uris[@]}" --size $(( 32 << 20 )) >"$work/data.out" 2>&1 &
  writer=$!
}
answers() { local count=0 rest; { read -r count rest <"$work/data.progress"; } 2>/dev/null; echo "${count:-0}"; }
answered_more_than() { (( $(answers) > $1 )); }
writes_go_on() { wait_until 60 "$1 more answers" answered_more_than $(( $(answers) + $1 )); }
finish_writer() {
  local code=0
  : >"$work/data.stop"
  wait "$writer" || code=$?
  cat "$work/data.out"
  return $code
}
# write_some NODE...: for half a second through each, one after the other.
write_some() { local node; for node in "$@"; do oracle run "$work/data" --uri "$(nbd_uri "$node" data)" --size $(( 32 << 20 )) --seconds 0.5 || return 1; done; }
# Everything as written, through each of these nodes, and the disk that is written once.
all_is_there() {
  local node
  for node in "$@"; do
    oracle verify "$work/data" --uri "$(nbd_uri "$node" data)" || return 1
    [[ $(sum_through "$node") == "$once" ]] || { echo "the disk 'once' is another one through node $node"; return 1; }
  done
}
sum_through() { nbdcopy "$(nbd_uri "$1" once)" - | sha256sum; }
vdi_numbers() { dog_on "$1" --json vdi list | "$SD_PYTHON" -c 'import json, sys; print(*("--vdi " + str(v["vid"]) for v in json.load(sys.stdin)))'; }
epoch() { dog_on "$1" --json cluster info | "$SD_PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["epoch"])'; }
address_of() { echo "$(node_address "$1"):$(node_port "$1")"; }
whole_without() { wait_until "$SD_HEALTH_TIMEOUT" "all copies, by node $1" healthy_without "$@" || { healthy_without "$@"; return 1; }; }
lists() { dog_on "$1" vdi list | grep -w "$2"; }

phase "1. Three nodes, three copies, data"
check "the cluster starts" start_cluster || exit 1
check "the cluster is formatted" format_cluster 3 || exit 1
check "the share of a node that is away goes to others at once" dog_on 0 cluster grace 0
check "a disk that is written all the time" dog_on 0 vdi create data 32M || exit 1
check "a disk that is written once" dog_on 1 vdi create once 24M
head -c 24M /dev/urandom >"$work/once"
check "it is filled" nbdcopy --flush "$work/once" "$(nbd_uri 2 once)"
once=$(sha256sum <"$work/once")
check "some writes" write_some 0 1 2
check "all of it is there through every node" all_is_there 0 1 2

phase "2. kill -9 of node 2 under writing"
before=$(epoch 0)
start_writer 0 1
check "writes go on" writes_go_on 300
killed=$(now_ms)
check "node 2 is killed" kill_node 2
phase "3. It is noticed, and nothing is missed"
check "the others count it out" wait_until 15 "two nodes" sees_nodes 0 2
noticed=$(( $(now_ms) - killed ))
check "within 5 seconds (it took $noticed ms)" test $noticed -le 5000
check "there is a new epoch" test "$(epoch 0)" -gt "$before"
check "writes go on" writes_go_on 300
check "the writer saw nothing wrong" finish_writer
check "all of it is there through both" all_is_there 0 1

phase "4. Node 3 is added"
before=$(epoch 0)
start_writer 0 1
SD_NODES=4
check "node 3 starts and joins" start_node 3
check "all see three nodes" eval 'for node in 0 1 3; do wait_until 20 "three nodes" sees_nodes $node 3 || exit 1; done'
check "there is a new epoch" test "$(epoch 3)" -gt "$before"

phase "5. Data move to it while writes go on"
check "all objects get three copies" whole_without 0 "$(address_of 2)"
check "writes went on" writes_go_on 100
check "the writer saw nothing wrong" finish_writer
check "all of it is there through every node" all_is_there 0 1 3
vdis=$(vdi_numbers 0)
kill_all  # at one moment: a node that stops after others goes on without them
check "three equal copies of each object are on disk, without node 2" compare_copies 3 "$vdis" 0 1 3

phase "6. Node 2 returns after all that was written without it"
check "the others start" eval 'for node in 0 1 3; do start_node $node || exit 1; done'
check "node 2 starts" start_node 2
check "the cluster is healthy, with four nodes" wait_healthy 0
check "all of it is there through every node" all_is_there 2 0 1 3
check "writes through the one that returned" write_some 2
check "all of it is there through the others" all_is_there 0 1 3
kill_all
check "three equal copies of each object are on disk" compare_copies 3 "$vdis" 0 1 2 3

phase "7. The whole cluster starts again, in every order of the first three"
check "all start" start_cluster
check "the cluster is healthy" wait_healthy 0
moved_nothing() {
  dog_on 0 --json node recovery | "$SD_PYTHON" -c '
import json, sys
moved = {n["address"]: n["pulled_bytes"] for n in json.load(sys.stdin)["nodes"]}
print("copied since the start:", moved)
sys.exit(len(moved) != 4 or any(moved.values()))'
}
round=0
for order in "0 1 2" "0 2 1" "1 0 2" "1 2 0" "2 0 1" "2 1 0"; do
  read -ra nodes <<<"$order"
  check "writes before" write_some "${nodes[0]}"
  # In turn: an orderly shutdown, a stop of one after the other, the death of all (what was written was flushed).
  case $(( round++ % 3 )) in
    0) way="dog cluster shutdown"; check "$way" eval "dog_on ${nodes[1]} cluster shutdown && for node in 0 1 2 3; do await_stop \$node || exit 1; done" ;;
    1) way="a clean stop"; check "$way of all at once" stop_all ;;
    2) way="kill -9"; check "$way of all" kill_all ;;
  esac
  check "start in the order $order, 3" eval "for node in $order 3; do start_node \$node || exit 1; done"
  check "the cluster is healthy" wait_healthy "${nodes[2]}"
  check "all of it is there after $way" all_is_there "${nodes[1]}" 3
  check "no data were moved" moved_nothing
done

phase "8. A start with a node missing"
# Shut down as a whole: of nodes that stop by themselves the last one may hold what no other has, and the others would wait for it.
check "writes before" write_some 3
check "all stop" eval 'dog_on 3 cluster shutdown && for node in 0 1 2 3; do await_stop $node || exit 1; done'
check "all but node 1 start" eval 'for node in 2 0 3; do start_node $node || exit 1; done'
check "they serve without it" wait_until 60 "an answer" nbdinfo --size "$(nbd_uri 0 once)"
check "all of it is there" all_is_there 0 2 3
check "three copies are made" whole_without 0 "$(address_of 1)"
check "writes without it" write_some 0 2 3

phase "9. A disk is deleted, and another made with its name, while node 1 is away"
check "a disk is created" dog_on 0 vdi create gone 8M
head -c 8M /dev/urandom >"$work/gone"
# It must have been on node 1 to be able to come back from there.
check "node 1 returns" start_node 1
check "the cluster is healthy" wait_healthy 1
check "the disk is filled" nbdcopy --flush "$work/gone" "$(nbd_uri 1 gone)"
check "node 1 is killed" kill_node 1
check "it is counted out" wait_until 15 "three nodes" sees_nodes 0 3
check "the disk is deleted" dog_on 0 vdi delete gone
check "another of the same name is created" dog_on 0 vdi create gone 8M
check "node 1 returns again" start_node 1
check "the cluster is healthy" wait_healthy 1
check "the new disk is empty through every node" eval "for node in 0 1 2 3; do cmp -n $(( 8 << 20 )) /dev/zero <(nbdcopy \"\$(nbd_uri \$node gone)\" -) || exit 1; done"
check "it is deleted too" dog_on 1 vdi delete gone
check_exit 1 '' "no node lists it" lists 1 gone
check_exit 1 '' "no node serves it" nbdinfo "$(nbd_uri 1 gone)"
check "all nodes restart" eval 'stop_all && start_cluster'
check "the cluster is healthy" wait_healthy 2
check_exit 1 '' "it stays deleted" lists 1 gone

phase "10. Node 0 loses its disk"
check "writes before" write_some 0 1
check "node 0 is killed" kill_node 0
rm -rf "$(node_dir 0)"
check "writes without it" write_some 1
check "it starts with an empty disk" start_node 0 --seed "$(address_of 1)" --seed "$(address_of 2)"
check "it is a new member" wait_until 20 "four nodes" sees_nodes 1 4
check "all objects get three copies, nothing is wrong, and nobody waits for the old one" wait_healthy 1
check "all of it is there through every node" all_is_there 0 1 2 3
check "writes through it" write_some 0
vdis=$(vdi_numbers 0)
kill_all
check "three equal copies of each object are on disk" compare_copies 3 "$vdis" 0 1 2 3
check "and all nodes start once more" start_cluster
check "all of it is there" all_is_there 0 1 2 3

phase "11. Blocks rot on disk, and an operator has them looked for"
# checked EXPRESSION: what `dog vdi check` says of the disk 'once', as `said`, and its exit code, as `code`.
checked() {
  local code=0
  dog_on 0 --json vdi check once >"$work/checked" || code=$?
  "$SD_PYTHON" -c "
import json, sys
code, said = $code, json.load(open('$work/checked'))
print(said, 'exit code', code)
sys.exit(not ($1))"
}
# The file of the first object of 'once', at each node that has it.
rotting=$(printf 'obj/00%06x00000000' "$(dog_on 0 --json vdi info once | "$SD_PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["vid"])')")
holders() { local node; for node in 0 1 2 3; do [[ -f $(node_dir "$node")/$rotting ]] && echo "$node"; done; }
# rots COUNT EXPRESSION: at so many of them. A node that has the block in memory still may write it again, so this is done until it is noticed.
rots() {
  local node
  for node in $(holders | head -n "$1"); do printf 'rotten' | dd of="$(node_dir "$node")/$rotting" conv=notrunc status=none || return 1; done
  checked "$2"
}
check "all objects have three copies" wait_healthy 0
check "every copy is good" checked "code == 0 and said['good'] and said['copies'] >= 21 and said['damaged_blocks'] == 0"
check "a block of one copy is found and repaired" wait_until 30 "the damage to be found" \
  rots 1 "code == 0 and said['good'] and said['damaged_blocks'] == said['repaired_blocks'] == 1"
check "and is good from then on" checked "code == 0 and said['damaged_blocks'] == 0"
check "all of it is there through every node" all_is_there 0 1 2 3
check "a block of all copies is found, and cannot be repaired" wait_until 30 "the damage to be found" \
  rots 4 "code == 6 and said['lost_blocks'] == 1 and said['repaired_blocks'] == 0"
node=$(holders | head -n 1)
check_exit 6 'damaged at every member' "its member says so, and a repair cannot help" dog_on "$node" cluster check --repair
check "it is written again" nbdcopy --flush "$work/once" "$(nbd_uri 1 once)"
repairs_all() {
  dog_on "$1" --json cluster check --repair >"$work/repaired"
  cat "$work/repaired"
  "$SD_PYTHON" -c "
import json
said = json.load(open('$work/repaired'))
assert len(said['disks']) == 2 and all(disk['good'] for disk in said['disks'])
assert any('damaged at every member' in finding['text'] for finding in said['findings_before'])
assert not said['findings']"
}
check "with that a repair finds everything good" repairs_all "$node"
check "all of it is there" all_is_there 0 1 2 3
check "the nodes stop" stop_all
summary
