#!/usr/bin/env bash
# How a node starts, what it refuses to start on, and how it lives with what its surroundings do: signals, a directory that is not its own.
#
#   scripts/test-start.sh [--keep] [--preset NAME]
#
# Not for the sanitizers of --preset debug: they need file descriptors of their own, and take a lack of them for a broken object.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
read_options "" "$@"
need_binaries
SD_NODES=1
private_cluster start
dir=$(node_dir 0) log=$SD_STATE/log
serves() { [[ $(dog_on 0 --json node info) == *'"serving": true'* ]]; }
logged() { grep -Eq -- "$1" "$log"; }
# Of a start that must end by itself.
starts() { timeout 20 "$sheep" -b "$SD_BIND" -p "$(node_port 0)" "$@"; }
signal() { kill "-$1" "$(node_pid 0)"; }

phase "Signals"
check "a node starts" start_cluster --journal-size 32 --log-file "$log" || exit 1
check "it is formatted" format_cluster 1
check "and has an object" eval "dog_on 0 vdi create disk 4M && head -c 4M /dev/urandom | dog_on 0 vdi write disk"
mv "$log" "$log.1"
check "SIGHUP opens the log anew" eval "signal HUP && wait_until 10 'a line' logged 'received SIGHUP: the log file was opened anew'"
check "SIGUSR1 and SIGUSR2 leave a line" eval "signal USR1 && signal USR2 && wait_until 10 'lines' logged SIGUSR1 && wait_until 10 'lines' logged SIGUSR2"
signal PIPE
check "it goes on, after SIGPIPE too" serves

phase "A directory that is in use"
check_exit 2 "in use by another sheep .process $(node_pid 0)" "a second node on the same directory is refused" starts --log-file "$SD_STATE/log2" "$dir"
kill_and_start() {
  { kill -KILL "$(node_pid 0)"; } 2>/dev/null
  rm -f "$SD_STATE/node0.pid"
  start_node 0 --journal-size 32 --log-file "$log"
}
check "a start right after kill -9 succeeds" kill_and_start
check "it serves" wait_until 20 "it to serve" serves
check "it stops" stop_node 0

phase "A directory that is not the node's"
mkdir "$SD_STATE/unmounted" "$SD_STATE/photos"
touch "$SD_STATE/photos/me.jpg" "$SD_STATE/photos/you.jpg"
check_exit 2 "holds no node, and --existing makes no new one" "an empty mount point is refused with --existing" starts --existing "$SD_STATE/unmounted"
check_exit 1 '' "and stays empty" eval "ls -A '$SD_STATE/unmounted' | grep ."
check_exit 2 "holds me.jpg" "somebody else's files are refused, and one is named" starts "$SD_STATE/photos"
check_exit 0 '^me.jpg you.jpg$' "and are left alone" eval "ls -A '$SD_STATE/photos' | xargs"
mv "$dir/node" "$SD_STATE/identity"
check_exit 2 "holds objects of a node whose identity .*/node. is missing" "data without an identity are refused" starts "$dir"
check_exit 1 '' "and get no new one" test -e "$dir/node"
mv "$SD_STATE/identity" "$dir/node"
check "with its identity back it starts, --existing too" start_node 0 --journal-size 32 --existing
check "it serves" wait_until 20 "it to serve" serves
check "it stops" stop_node 0

phase "A directory in place of an object"
check "the node starts" start_node 0 --journal-size 32 --log-file "$log"
check "a second disk has an object" eval "dog_on 0 vdi create other 4M && head -c 4M /dev/urandom >'$SD_STATE/other' && dog_on 0 vdi write other <'$SD_STATE/other'"
check "it stops" stop_node 0
object=$(find "$dir/obj" -type f -size +3M | sort | head -n 1)
rm "$object" && mkdir "$object"
check "the node starts" start_node 0 --journal-size 32 --log-file "$log"
check "it serves" wait_until 20 "it to serve" serves
check_exit '[^0]' '' "the object of that name cannot be read" eval "dog_on 0 vdi read disk >/dev/null"
check "the log names it" logged "$object is no file"
check "the others can" eval "dog_on 0 vdi read other | cmp - '$SD_STATE/other'"
check "it can be written" eval "dog_on 0 vdi write disk <'$SD_STATE/other'"
check "and read then" eval "dog_on 0 vdi read disk | cmp - '$SD_STATE/other'"
check "the node stops, and has not failed" stop_node 0

phase "The Unix socket"
mode_is() { [[ $(stat -c %a "$(node_socket 0)") == "$1" ]]; }
check "the node starts" eval "(umask 0; start_node 0 --journal-size 32)"
check "the socket is its user's alone" mode_is 600
kill_node 0
check "it starts with a mode, over the socket of a killed one" start_node 0 --journal-size 32 --nbd-socket-mode 0660
check "the socket has it" mode_is 660
check "it stops" stop_node 0
check_exit 1 '' "the socket is gone" test -e "$(node_socket 0)"
check_exit 64 "is no mode" "a mode that is none is refused" starts --nbd-socket "$(node_socket 0)" --nbd-socket-mode 0999 "$dir"
check_exit 64 "no meaning without" "so is one without a socket" starts --nbd-socket-mode 0660 "$dir"

phase "Whoever can reach a port"
check "it starts" start_node 0 --journal-size 32 --log-file "$log"
# COUNT connections with rubbish, to each port.
rubbish() {
  "$SD_PYTHON" - "$SD_BIND" "$1" "$(node_port 0)" $(( $(node_port 0) + 1 )) "$(node_nbd_port 0)" <<'PY'
import socket, sys
host, count, *ports = sys.argv[1:]
for i in range(int(count)):
    for port in ports:
        with socket.create_connection((host, int(port)), 10) as s:
            try:
                s.sendall(b"\xff%d" % i * 500)
                while s.recv(4096): pass
            except ConnectionError: pass
PY
}
lines_of() { (( $(grep -c . "$log") - $1 <= $2 )) || { tail -n 20 "$log"; return 1; }; }
before=$(grep -c . "$log")
check "3000 connections send rubbish" rubbish 1000
check "the log gets a few lines" lines_of "$before" 30
check "and says how many it left out" wait_until 20 "a count" logged '[0-9]{2,} more like this were left out in 10 s: '
check "it stops" stop_node 0

phase "Few open files"
check_exit 2 "may open 100 files only, and a node needs 128" "a node refuses to start with 100 file descriptors" eval "(ulimit -n 100; starts '$dir')"
# Connections that stay open, more than there are descriptors; and then none.
crowd() {
  "$SD_PYTHON" - "$SD_BIND" "$(node_port 0)" <<'PY'
import socket, sys, time
address = (sys.argv[1], int(sys.argv[2]))
kept = []
for i in range(300):
    s = socket.socket()
    s.settimeout(1)
    s.connect(address)
    kept.append(s)
time.sleep(1)
PY
}
rm -f "$log"
check "it starts with more" start_node 0 --journal-size 32 --log-file "$log"
check "it serves" wait_until 20 "it to serve" serves
limit_now() { prlimit --pid "$(node_pid 0)" --nofile="$1:"; }
open_now() { ls "/proc/$(node_pid 0)/fd" | wc -l; }
limit_now $(( $(open_now) + 3 ))
check "more connections than it has descriptors come and go" crowd
check "the log says why they waited" logged 'cannot accept a connection: Too many open files'
check_exit 0 '^[0-3]$' "a few times at most" grep -c 'cannot accept a connection' "$log"
check "objects are read all the same" eval "dog_on 0 vdi read disk | wc -c"
limit_now 4096
check "it serves" wait_until 20 "it to serve" serves
check "it stops" stop_node 0

phase "Seeds"
check_exit 2 'cannot resolve the address nobody.invalid' "a new node is refused if no seed can be resolved" starts --seed nobody.invalid:7000 "$SD_STATE/new"
check_exit 2 'names no host|no valid port' "what is no seed is refused" starts --seed "$SD_BIND:x" "$dir"
rm -f "$log"
check "a member starts without" start_node 0 --journal-size 32 --log-file "$log" --seed nobody.invalid:7000
check "it serves" wait_until 20 "it to serve" serves
check "the log names the seed" logged 'cannot resolve the address nobody.invalid.* starts without that seed'
# A seed that nobody listens for, one that is another service, and one that says nothing at all.
refusing=$(( SD_BASE_PORT + 10 )) babbling=$(( SD_BASE_PORT + 12 )) silent=$(( SD_BASE_PORT + 14 )) closing=$(( SD_BASE_PORT + 16 ))
"$SD_PYTHON" - "$SD_BIND" $babbling $silent $closing <<'PY' &
import socket, sys, time
host, *ports = sys.argv[1:]
listeners = []
for port in ports:
    listeners.append(socket.create_server((host, int(port) + 1)))
    listeners[-1].settimeout(0.05)
kept, end = [], time.monotonic() + 60
while time.monotonic() < end:
    for i, listener in enumerate(listeners):
        try: s, _ = listener.accept()
        except TimeoutError: continue
        if i == 0: s.sendall(b"SSH-2.0-other\r\n")
        if i < 2: kept.append(s)
        else: s.close()
PY
services=$!
wait_until 10 "the services" port_open $(( closing + 1 ))
strayed() {
  local seeds=() port
  for port in "$@"; do seeds+=(--seed "$SD_BIND:$port"); done
  timeout 18 "$sheep" -b "$SD_BIND" -p "$(node_port 4)" --journal-size 32 "${seeds[@]}" "$SD_STATE/new"
}
run_quietly strayed $refusing $babbling $silent $closing
said=$output
says() { grep -Eq -- "$1" <<<"$said" || { echo "$said"; return 1; }; }
check "the log names a seed that refuses" says "the seed $SD_BIND:$refusing .*cannot be reached: Connection refused"
check "and one that is another service" says "the seed $SD_BIND:$babbling .*answers as no node does"
check "and one that closes" says "the seed $SD_BIND:$closing .*has closed the connection"
check "and, after a while, all of them" says "no node has let this one in so far; its seeds are .*:$silent"
check_exit 0 '^[1-5]$' "not often" grep -c warning <<<"$said"
kill $services; wait $services 2>/dev/null
check "the node stops" stop_node 0

phase "A second signal"
SD_NODES=2
rm -f "$log"
check "two nodes start" eval "start_node 0 --journal-size 32 --log-file '$log' && start_node 1 --journal-size 32 && wait_until 20 'both' sees_nodes 0 2"
check "both vote" wait_until 20 "two voters" eval "[[ \$(dog_on 0 node list | grep -cE 'leader|voter') == 2 ]]"
check "and the cluster is healthy" wait_healthy 0
kill_node 1
# Without the other one a node tries for seconds to hand over what it has.
check "one has begun to stop" eval "signal TERM && wait_until 10 'the beginning' logged ' stopping$'"
signal INT
ends_with() { local ended=0; wait "$(node_pid 0)" || ended=$?; (( ended == $1 )) || { echo "exit code $ended"; return 1; }; }
check "a second signal ends it at once, with exit code 1" ends_with 1
check "the log says so" logged 'stopping at once: a second signal came'
rm -f "$SD_STATE/node0.pid"
check "both start again" start_cluster --journal-size 32
check "and serve" wait_until 20 "it to serve" serves
check "what was written is there" eval "dog_on 0 vdi read other | cmp - '$SD_STATE/other'"
check "they stop" stop_all

phase "The address that a node guesses"
# guessing "INTERFACE ADDRESS, ..." [OPTIONS]: a node on a machine with these.
guessing() {
  # shellcheck disable=SC2016
  unshare -n bash -c '
    ip link set lo up
    while read -r name address; do
      [[ -z $name ]] || ip link add "$name" type bridge && ip address add "$address/24" dev "$name" && ip link set "$name" up
    done < <(tr "," "\n" <<<"$1")
    shift
    timeout 2 "$@"' - "$1" "$sheep" --journal-size 32 "${@:2}" "$SD_STATE/guess"
}
if (( $(id -u) == 0 )) && unshare -n ip link add eth7 type bridge 2>/dev/null; then
  check_exit 124 '10.1.0.5:7000 .a guess: eth7 has it; --advertise names another' "is the only real one, and is logged" guessing "virbr0 192.168.122.1,docker0 172.17.0.1,eth7 10.1.0.5"
  check_exit 2 'several addresses: 10.1.0.5 .eth7., 10.2.0.5 .eth8.; name the one .* with --advertise' "is refused if there are several, which are listed" guessing "eth7 10.1.0.5,eth8 10.2.0.5,docker0 172.17.0.1"
  check_exit 124 'sheep 10.2.0.5:7000 serves' "need not be guessed" guessing "eth7 10.1.0.5,eth8 10.2.0.5" --advertise 10.2.0.5
  check_exit 2 'virtual interfaces only: 172.17.0.1 .docker0.' "is never a virtual one" guessing "docker0 172.17.0.1"
  rm -rf "$SD_STATE/guess"
  check_exit 2 'no address at which nodes on other machines could reach it' "is not 127.0.0.1 with seeds" guessing "" --seed 10.0.0.1:7000
  check_exit 124 '127.0.0.1:7000 .a guess' "is 127.0.0.1 for a node without" guessing ""
else
  warn "no network namespaces with bridges here: the guess is tested by runtime_test alone"
fi

summary
