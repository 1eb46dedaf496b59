#!/usr/bin/env bash
# Real processes that come and go: two nodes and a witness, a node that is drained, a cluster that has lost its majority, and one that is
# told to go on without it. What the programs say, and with which exit codes, is part of what is checked.
#
#   scripts/test-members.sh [--keep] [--preset NAME]
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
read_options '' "$@"
need_binaries
shepherd=$SD_BIN/shepherd
[[ -x $shepherd ]] || die "$shepherd is missing"
private_cluster members
work=$SD_STATE/work
mkdir -p "$work"
head -c 1M /dev/urandom >"$work/data"

# The witness: node number $1 of the scripts, so that stopping and cleaning up know it.
start_witness() {
  local i=$1
  mkdir -p "$(node_dir "$i")"
  setsid "$shepherd" -l "$SD_BIND:$(node_port "$i")" --seed "$SD_BIND:$(node_port 0)" --seed "$SD_BIND:$(node_port 1)" "$(node_dir "$i")" \
    </dev/null >>"$(node_log "$i")" 2>&1 &
  echo $! >"$SD_STATE/node$i.pid"
  wait_until "$SD_START_TIMEOUT" "the witness to answer" port_open "$(node_port "$i")"
}
# field NODE COMMAND PYTHON: of the JSON answer `d`.
field() { dog_on "$1" --json $2 2>/dev/null | "$SD_PYTHON" -c "import json, sys; d = json.load(sys.stdin); print($3)"; }
node_is() { [[ $(field "$1" 'node list' "[n['state'] for n in d if n['address'].endswith(':$(node_port "$2")')][0]") == "$3" ]]; }
voters() { [[ $(field "$1" 'node list' "sum(n['voter'] for n in d)") == "$2" ]]; }
write_data() { dog_on "$1" vdi write "$2" <"$work/data"; }
reads_back() { dog_on "$1" vdi read "$2" 0 1M | cmp - "$work/data"; }
no_leader() { [[ $(field "$1" 'cluster info' "d['status']") == 'no majority' ]]; }
stores_nothing() { [[ -z $(find "$(node_dir "$1")" -path '*/obj/*' -type f 2>/dev/null | head -n 1) ]]; }

phase "Two nodes and a witness"
SD_NODES=3
check "node 0 starts" start_node 0
check "node 1 starts" start_node 1
check "the witness starts" start_witness 2
check "all three join" wait_until 30 "three members" sees_nodes 0 3
check "the cluster is formatted with two copies" dog_on 0 cluster format -c 2
check "all three vote" wait_until 20 "three voters" voters 0 3
check "a disk is created" dog_on 0 vdi create disk 64M
check "and written" write_data 0 disk
check "node 1 is killed" kill_node 1
check "input and output go on" reads_back 0 disk
check "writing too" write_data 0 disk
check "node 1 is down, and keeps its share" wait_until 20 "its grace time" node_is 0 1 'down (grace)'
check_exit 6 'is down' "dog cluster check says so" dog_on 0 cluster check
check "node 1 returns" start_node 1
check "the cluster becomes healthy" wait_healthy 0
check "node 0 is killed" kill_node 0
check "input and output go on through node 1" reads_back 1 disk
check "the witness holds no data" stores_nothing 2

phase "No majority"
check "the witness is killed too" kill_node 2
check "node 1 sees that it is alone" wait_until 20 "no majority" no_leader 1
check "and stops serving when its lease ends" wait_until 20 "its lease to end" grep -q 'not serving: no lease' "$(node_log 1)"
check_exit 0 'no lease' "dog node info answers, and says why it does not serve" dog_on 1 node info
check_exit 0 "Waits for: +127.0.0.1:$(node_port 0), a voter" "dog cluster info names whom it waits for" dog_on 1 cluster info
check_exit 6 'no leader' "dog cluster check ends with 6" dog_on 1 cluster check

phase "dog cluster recover force"
check_exit 64 'there are two clusters' "it warns, and asks for --yes" dog_on 1 cluster recover force
check "an operator makes node 1 go on alone" wait_until 20 "the order to be taken" dog_on 1 cluster recover force --yes
check "it serves" wait_until 20 "it to serve" reads_back 1 disk
check "and can be written" write_data 1 disk
SD_SHEEP_ARGS="--seed $SD_BIND:$(node_port 1)" check "node 0 comes back" start_node 0
check "and gives up: it has no part in the new configuration" wait_until 20 "node 0 to end" node_dead 0
check "its log says what to do" grep -q 'empty its data directory' "$(node_log 0)"
rm -rf "$(node_dir 0)"
SD_SHEEP_ARGS="--seed $SD_BIND:$(node_port 1)" check "with an empty directory it joins as a new node" start_node 0
check "it is up" wait_until 30 "two members" sees_nodes 1 2
check "what was written is there, through it" wait_until 30 "the data" reads_back 0 disk

phase "dog node drain"
SD_NODES=4
for node in 2 3; do
  rm -rf "$(node_dir $node)"
  SD_SHEEP_ARGS="--seed $SD_BIND:$(node_port 1)" check "node $node joins as a new one" start_node $node
done
check "four are up" wait_until 30 "four members" sees_nodes 1 4
check "node 3 is to be drained" dog_on 1 node drain "127.0.0.1:$(node_port 3)"
check "its data moves away, and its vote" wait_until 60 "node 3 to be drained" node_is 1 3 'up, drained'
check "it serves meanwhile" reads_back 3 disk
check "it stops" stop_node 3
check "it leaves the list" wait_until 30 "a list without it" eval '! dog_on 1 node list | grep -w "127.0.0.1:$(node_port 3)"'
check "everything is there" reads_back 0 disk
check_exit 5 'no node is called' "a name that is none is refused" dog_on 1 node drain nonsense
check_exit 0 '90 seconds' "the grace time can be set" dog_on 1 cluster grace 90s
check_exit 64 'no time' "and nonsense is refused" dog_on 1 cluster grace soon
summary
