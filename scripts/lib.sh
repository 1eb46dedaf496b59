# What the scripts share: reporting, waiting, and nodes on this machine. To be sourced, after `set -uo pipefail`.
# shellcheck shell=bash
# shellcheck source=scripts/defaults.sh
source "$(dirname "${BASH_SOURCE[0]}")/defaults.sh"

# ---- reporting -----------------------------------------------------------------------------------------------------------------

if [[ -t 1 && -z ${NO_COLOR-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' cyan=$'\e[36m' plain=$'\e[0m'
else
  bold='' dim='' red='' green='' yellow='' cyan='' plain=''
fi
phase() { printf '\n%s== %s%s\n' "$bold$cyan" "$*" "$plain"; }
step() { printf '%s-> %s%s\n' "$dim" "$*" "$plain"; }
warn() { printf '%swarning:%s %s\n' "$yellow" "$plain" "$*" >&2; }
die() { printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2; exit 1; }

passed=0 failed=0
pass() { passed=$((passed + 1)); printf '%sok%s    %s\n' "$green" "$plain" "$*"; }
# A failed check says what was expected; what the command printed follows, indented.
fail() {
  failed=$((failed + 1))
  printf '%sFAIL%s  %s\n' "$red" "$plain" "$1"
  [[ -z ${2-} ]] || sed 's/^/      | /' <<<"$2" | tail -n 30
}

# complain WHAT TEXT: what went wrong inside a step that a check is about.
complain() { printf '%s\n' "$1 does not hold" >&2; [[ -z ${2-} ]] || printf '%s\n' "$2" >&2; }

# run_quietly COMMAND...: runs it in this shell (so that it may start and await processes); sets `code` and `output`.
run_quietly() {
  local file
  file=$(mktemp "${TMPDIR:-/tmp}/sheepdog-check-XXXXXX")
  code=0
  "$@" >"$file" 2>&1 || code=$?
  output=$(tail -c 20000 "$file" | tr -d '\0')
  rm -f "$file"
}

# check WHAT COMMAND...: passes if the command exits with 0.
check() {
  local what=$1 code output; shift
  run_quietly "$@"
  if (( code == 0 )); then pass "$what"; else fail "$what" "exit code $code of: $*"$'\n'"$output"; return 1; fi
}

# check_exit CODE TEXT WHAT COMMAND...: the command must exit with CODE and print TEXT (regular expressions; '' as TEXT is anything).
check_exit() {
  local wanted=$1 text=$2 what=$3 code output; shift 3
  run_quietly "$@"
  if [[ ! $code =~ ^$wanted$ ]]; then
    fail "$what" "exit code $code instead of $wanted of: $*"$'\n'"$output"
  elif [[ -n $text ]] && ! grep -Eqi -- "$text" <<<"$output"; then
    fail "$what" "said nothing like '$text': $*"$'\n'"$output"
  else
    pass "$what"
  fi
}

# The last line of every test script, in the form that test.sh adds up.
summary() {
  echo
  echo "$passed passed, $failed failed"
  (( failed == 0 ))
}

# ---- options -------------------------------------------------------------------------------------------------------------------

# The comment at the head of the script, without its marks.
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; }

# read_options "NAME=VARIABLE NAME!=VARIABLE ..." "$@": sets the variables from the command line; an option NAME takes a value, with ! it
# takes none and its variable becomes 1. Every script that calls this also has --keep (leaves data and logs), --preset and --help.
KEEP=${KEEP:-0}
read_options() {
  local known=" $1 --keep!=KEEP --preset=SD_PRESET "; shift
  while (( $# )); do
    if [[ $1 == -h || $1 == --help ]]; then
      usage
      exit 0
    elif [[ $known =~ " $1!="([A-Za-z_]+) ]]; then
      printf -v "${BASH_REMATCH[1]}" 1
    elif [[ $known =~ " $1="([A-Za-z_]+) ]]; then
      (( $# > 1 )) || { echo "${0##*/}: $1 needs a value (see --help)" >&2; exit 64; }
      printf -v "${BASH_REMATCH[1]}" %s "$2"
      [[ $1 != --preset ]] || use_binaries "$SD_ROOT/build/$SD_PRESET/bin"
      shift
    else
      echo "${0##*/}: unknown option '$1' (see --help)" >&2
      exit 64
    fi
    shift
  done
}

# ---- waiting -------------------------------------------------------------------------------------------------------------------

now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo "${t%???}"; }

# wait_until SECONDS WHAT COMMAND...: repeats the command until it succeeds. Says what it waited for when the time is over.
wait_until() {
  local seconds=$1 what=$2 deadline; shift 2
  deadline=$(( $(now_ms) + seconds * 1000 ))
  until "$@" >/dev/null 2>&1; do
    if (( $(now_ms) >= deadline )); then
      warn "waited $seconds s in vain: $what"
      return 1
    fi
    sleep 0.05
  done
}

port_open() { (exec 3<>"/dev/tcp/${2:-$SD_BIND}/$1") 2>/dev/null; }  # port [address]

# ---- nodes ---------------------------------------------------------------------------------------------------------------------

use_binaries() { SD_BIN=$1 sheep=$1/sheep dog=$1/dog; }
use_binaries "$SD_BIN"

need_binaries() {
  local program
  for program in "$sheep" "$dog"; do
    [[ -x $program ]] || die "$program is missing. Build it: cmake --preset $SD_PRESET && cmake --build --preset $SD_PRESET"
  done
}

# All nodes share this machine's addresses, unless a script gives each a network of its own (test-chaos.sh): it then says at which address
# a node is, and sets `enter` to the words before a command that is to run there.
node_address() { echo "$SD_BIND"; }
enter_node() { enter=(); }
node_port() { echo $(( SD_BASE_PORT + 2 * $1 )); }
node_nbd_port() { echo $(( SD_NBD_BASE_PORT + $1 )); }
node_dir() { echo "$SD_STATE/node$1"; }
node_log() { echo "$SD_STATE/node$1.log"; }
node_socket() { echo "$SD_STATE/node$1.sock"; }
node_pid() { cat "$SD_STATE/node$1.pid" 2>/dev/null; }
all_nodes() { seq 0 $(( SD_NODES - 1 )); }
nbd_uri() { echo "nbd://$(node_address "$1"):$(node_nbd_port "$1")/$2"; }          # node, disk
nbd_unix_uri() { echo "nbd+unix:///$2?socket=$(node_socket "$1")"; }

# A process that exists and has not ended.
pid_runs() {
  local state
  state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 1
  [[ -n $state && $state != Z* && $state != X* ]]
}
# ... and is the sheep of that node's directory (process ids are used again).
node_alive() {
  local pid
  pid=$(node_pid "$1") && [[ -n $pid ]] && pid_runs "$pid" || return 1
  tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -cxF -- "$(node_dir "$1")" >/dev/null
}
node_dead() { ! node_alive "$1"; }
# Of a process just forked, which may not have become sheep yet.
answers_or_ended() { ! pid_runs "$1" || port_open "$2" "$3"; }

# start_node I [OPTIONS...]: returns when the node accepts connections. More options also from $SD_SHEEP_ARGS.
start_node() {
  local i=$1 j enter address; shift
  address=$(node_address "$i")
  mkdir -p "$(node_dir "$i")"
  node_alive "$i" && { warn "node $i runs already"; return 0; }
  local args=(-b "$address" -p "$(node_port "$i")" --cluster-driver sdcluster -l "$SD_LOG_LEVEL"
    --nbd --nbd-port "$(node_nbd_port "$i")" --nbd-socket "$(node_socket "$i")")
  for (( j = 0; j < i; j++ )); do args+=(--seed "$(node_address "$j"):$(node_port "$j")"); done
  # shellcheck disable=SC2206
  args+=($SD_SHEEP_ARGS "$@" "$(node_dir "$i")")
  echo "--- $(date -u +%FT%TZ) $sheep ${args[*]}" >>"$(node_log "$i")"
  # A session of its own: the terminal's interrupt key must not reach it.
  enter_node "$i"
  "${enter[@]}" setsid "$sheep" "${args[@]}" </dev/null >>"$(node_log "$i")" 2>&1 &
  echo $! >"$SD_STATE/node$i.pid"
  wait_until "$SD_START_TIMEOUT" "node $i to answer" answers_or_ended $! "$(node_port "$i")" "$address"
  if node_dead "$i" || ! port_open "$(node_port "$i")" "$address"; then
    complain "node $i starts" "$(tail -n 15 "$(node_log "$i")")"
    return 1
  fi
}

# A clean stop: one SIGTERM (a second one means "at once"), and the process must end by itself with exit code 0, which only its parent
# can see.
stop_node() {
  node_alive "$1" && kill -TERM "$(node_pid "$1")" 2>/dev/null
  await_stop "$1"
}
await_stop() {
  local i=$1 pid code=0
  pid=$(node_pid "$i") || return 0
  if ! wait_until "$SD_STOP_TIMEOUT" "node $i to stop" node_dead "$i"; then
    kill -KILL "$pid" 2>/dev/null
    wait_until 5 "node $i to be gone" node_dead "$i"
    complain "node $i stops cleanly" "$(tail -n 15 "$(node_log "$i")")"
    code=1
  elif wait "$pid" 2>/dev/null || [[ $? == 127 ]]; then
    :  # ended with 0, or is no child of this shell
  else
    complain "node $i ends with exit code 0 on SIGTERM" "$(tail -n 15 "$(node_log "$i")")"
    code=1
  fi
  rm -f "$SD_STATE/node$i.pid"
  return $code
}

# kill -9, and wait until the process is gone.
kill_node() {
  local pid
  pid=$(node_pid "$1") || return 1
  { kill -KILL "$pid"; wait "$pid"; } 2>/dev/null
  wait_until 5 "node $1 to be gone" node_dead "$1"
  rm -f "$SD_STATE/node$1.pid"
}

stop_all() {
  local i code=0
  for i in $(all_nodes); do node_alive "$i" && kill -TERM "$(node_pid "$i")" 2>/dev/null; done
  for i in $(all_nodes); do await_stop "$i" || code=1; done
  return $code
}
kill_all() {
  local i pids=()
  for i in $(all_nodes); do node_alive "$i" && pids+=("$(node_pid "$i")"); done
  (( ${#pids[@]} )) && { kill -KILL "${pids[@]}"; wait "${pids[@]}"; } 2>/dev/null
  for i in $(all_nodes); do node_alive "$i" && kill_node "$i"; done  # those that are no children of this shell
  rm -f "$SD_STATE"/node*.pid
}

# dog_on I ARGS...: dog, talking to node I.
dog_on() { local i=$1; shift; "$dog" -a "$(node_address "$i")" -p "$(node_port "$i")" "$@"; }

# Healthy: `dog cluster check` says so (exit code 0), that is, all members are up and every object has all its copies.
wait_healthy() { wait_until "${2:-$SD_HEALTH_TIMEOUT}" "a healthy cluster, by node ${1:-0}" dog_on "${1:-0}" cluster check; }

# healthy_without NODE ADDRESS...: the same, save that these members may be down.
healthy_without() {
  local node=$1 said line address code=0; shift
  said=$(dog_on "$node" --timeout 5 cluster check 2>&1) || code=$?
  (( code == 0 )) && return 0
  (( code == 6 )) || return 1
  while read -r line; do
    for address in "$@"; do [[ $line == *"node $address is down"* ]] && continue 2; done
    printf '%s\n' "$said"
    return 1
  done <<<"$said"
}

# compare_copies COPIES "OPTIONS" NODE...: of nodes that do not run, the objects as they are on disk.
compare_copies() {
  local copies=$1 options=$2 node files=(); shift 2
  for node in "$@"; do
    "$SD_BIN/storedump" "$(node_dir "$node")" >"$SD_STATE/objects$node" 2>"$SD_STATE/storedump$node.log" || { cat "$SD_STATE/storedump$node.log"; return 1; }
    files+=("$SD_STATE/objects$node")
  done
  # shellcheck disable=SC2086
  "$SD_PYTHON" "$SD_ROOT/scripts/compare-copies.py" "$copies" $options "${files[@]}"
}

# How many members node I sees as up.
nodes_up() {
  dog_on "$1" --json node list 2>/dev/null | "$SD_PYTHON" -c '
import json, sys
found = json.load(sys.stdin)
print(sum(node["up"] for node in found))'
}
sees_nodes() { [[ $(nodes_up "$1") == "$2" ]]; }

# start_cluster [OPTIONS...]: $SD_NODES nodes that see each other, not yet formatted on the first start.
start_cluster() {
  local i
  mkdir -p "$SD_STATE"
  for i in $(all_nodes); do start_node "$i" "$@" || return 1; done
  for i in $(all_nodes); do
    wait_until "$SD_HEALTH_TIMEOUT" "node $i to see $SD_NODES nodes" sees_nodes "$i" "$SD_NODES" || return 1
  done
}

format_cluster() { dog_on 0 cluster format -c "${1:-$SD_COPIES}" && wait_healthy 0; }

# ---- tests ---------------------------------------------------------------------------------------------------------------------

# A directory and ports of its own for one test run; everything that runs there ends with the script. KEEP=1 keeps the files.
private_cluster() {
  SD_STATE=$(mktemp -d "${SD_TEST_DIR:-${TMPDIR:-/tmp}}/sheepdog-$1-XXXXXX")
  use_free_ports
  trap end_private_cluster EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}
end_private_cluster() {
  local code=$? children
  kill_all
  mapfile -t children < <(jobs -p)
  (( ${#children[@]} )) && kill "${children[@]}" 2>/dev/null
  if (( code == 0 && ! KEEP )); then
    rm -rf "$SD_STATE"
  else
    echo "data and logs are in $SD_STATE"
  fi
}

# A range of ports below those that the kernel gives to outgoing connections, with nobody listening.
use_free_ports() {
  local base port busy
  while :; do
    base=$(( 12000 + (RANDOM * 32768 + RANDOM) % 19000 ))
    busy=0
    for (( port = base; port < base + 64; port++ )); do
      if port_open "$port"; then busy=1; break; fi
    done
    (( busy )) || break
  done
  SD_BASE_PORT=$base
  SD_NBD_BASE_PORT=$(( base + 48 ))
}
