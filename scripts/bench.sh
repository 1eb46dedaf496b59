#!/usr/bin/env bash
# Compares sheep with nbdkit's file plugin and with qemu-nbd on a raw file: the same fio jobs, in turn, on the same file system, in
# one run. Prints a table of medians and the ratios. Numbers of different runs or machines do not compare; the ratios do. On a machine that
# others use too, run it as `chrt -r 1 scripts/bench.sh`: servers and fio then go before everybody else.
#
#   scripts/bench.sh [options]
#     --servers LIST   of nbdkit,qemu-nbd,sheep1,sheep3 (default: all four; sheep1 is one node with one copy, sheep3 three with three)
#     --rows LIST      of the row names below (default: all)
#     --rounds N       measurements per cell, of which the median counts (default 3)
#     --seconds S      length of one measurement (default 5)
#     --size MB        of the disk, filled before (default 1024)
#     --tcp            over TCP on the loopback interface instead of Unix sockets
#     --dir DIR        where all servers keep their data (default: a new directory in $TMPDIR or /tmp)
#     --json FILE      also write every measurement and the medians there
#     --sheep-args S   more options for every sheep, such as --directio
#     --keep           leave data and logs
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
servers=nbdkit,qemu-nbd,sheep1,sheep3
rows=randread-1,randread-32,randwrite-1,randwrite-32,seqread-8,seqwrite-8
rounds=3 seconds=5 size=1024 tcp=0 json=''
read_options "--servers=servers --rows=rows --rounds=rounds --seconds=seconds --size=size --tcp!=tcp --dir=SD_TEST_DIR --json=json --sheep-args=SD_SHEEP_ARGS" "$@"
IFS=, read -ra server_list <<<"$servers"
IFS=, read -ra row_list <<<"$rows"
for program in fio nbdkit qemu-nbd; do command -v $program >/dev/null || die "$program is missing; run scripts/setup.sh"; done
[[ $servers != *sheep* ]] || need_binaries

private_cluster bench
top=$SD_STATE
declare -A uri=() idle_kb=() peak_kb=()
file_servers=0
measurements=$top/measurements.tsv
: >"$measurements"

status_kb() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/status"; }

start_file_server() {
  local name=$1 file=$top/$1.raw socket=$top/$1.sock port=$(( SD_BASE_PORT + 40 + file_servers ))
  truncate -s "${size}M" "$file"
  case $name in
    nbdkit)
      if (( tcp )); then nbdkit -f -i "$SD_BIND" -p "$port" file "$file" >"$top/$name.log" 2>&1 &
      else nbdkit -f -U "$socket" file "$file" >"$top/$name.log" 2>&1 &
      fi ;;
    qemu-nbd)
      if (( tcp )); then qemu-nbd -t -f raw -b "$SD_BIND" -p "$port" -e 8 --discard=unmap "$file" >"$top/$name.log" 2>&1 &
      else qemu-nbd -t -f raw -k "$socket" -e 8 --discard=unmap "$file" >"$top/$name.log" 2>&1 &
      fi ;;
  esac
  file_servers=$(( file_servers + 1 ))
  if (( tcp )); then
    uri[$name]=nbd://$SD_BIND:$port/
    wait_until 10 "$name to listen" port_open "$port" || die "$name: $(cat "$top/$name.log")"
  else
    uri[$name]="nbd+unix:///?socket=$socket"
    wait_until 10 "$name to listen" test -S "$socket" || die "$name: $(cat "$top/$name.log")"
  fi
}

# Each sheep cluster has its directory and its ports; the functions of lib.sh follow SD_STATE and SD_NODES.
enter_cluster() {
  SD_STATE=$top/$1 SD_NODES=${1#sheep}
  SD_BASE_PORT=$(( bench_base + 10 * (SD_NODES - 1) )) SD_NBD_BASE_PORT=$(( bench_base + 30 + SD_NODES ))
}
start_sheep() {
  local name=$1 i
  enter_cluster "$name"
  start_cluster || die "$name does not start"
  format_cluster "$SD_NODES" >/dev/null || die "$name cannot be formatted"
  dog_on 0 vdi create bench "${size}M" >/dev/null || die "$name has no disk"
  if (( tcp )); then uri[$name]=$(nbd_uri 0 bench); else uri[$name]=$(nbd_unix_uri 0 bench); fi
  idle_kb[$name]=0
  for i in $(all_nodes); do
    local kb; kb=$(status_kb "$(node_pid "$i")" VmRSS)
    (( kb > idle_kb[$name] )) && idle_kb[$name]=$kb
  done
}
bench_base=$SD_BASE_PORT
end_bench() {
  local code=$? server
  for server in "${server_list[@]}"; do [[ $server == sheep* ]] && { enter_cluster "$server"; kill_all; }; done
  SD_STATE=$top
  (exit "$code"); end_private_cluster
}
trap end_bench EXIT

# job ROW: the fio options of a row, "kind-depth".
job() {
  local depth=${1##*-}
  case $1 in
    randread-*) echo "--rw=randread --bs=4k --iodepth=$depth" ;;
    randwrite-*) echo "--rw=randwrite --bs=4k --iodepth=$depth" ;;
    seqread-*) echo "--rw=read --bs=1M --iodepth=$depth" ;;
    seqwrite-*) echo "--rw=write --bs=1M --iodepth=$depth" ;;
    *) return 1 ;;
  esac
}
for row in "${row_list[@]}"; do job "$row" >/dev/null || die "unknown row $row"; done

phase "Starting ${server_list[*]} in $top, disks of $size MB"
for server in "${server_list[@]}"; do
  case $server in
    nbdkit | qemu-nbd) start_file_server "$server" ;;
    sheep1 | sheep3) start_sheep "$server" ;;
    *) die "unknown server $server" ;;
  esac
done

# fio writes its JSON to a file; errors go to the terminal.
run_fio() {
  local server=$1 output=$2; shift 2
  fio --name=bench --ioengine=nbd --uri="${uri[$server]}" --size="${size}M" --randrepeat=0 --norandommap --thread --output-format=json \
    --output="$output" "$@" || { cat "$output" >&2; die "fio failed on $server: $*"; }
}
for server in "${server_list[@]}"; do
  step "filling $server"
  run_fio "$server" "$top/fio.json" --rw=write --bs=1M --iodepth=8 --end_fsync=1
done

# Every server begins with its data in the page cache: a machine that gives idle pages back would else decide who has to read the disk.
warm() {
  if [[ $1 == sheep* ]]; then cat "$top/$1"/node*/obj/* >/dev/null
  else cat "$top/$1.raw" >/dev/null
  fi
}

phase "$rounds rounds of $seconds s for each of ${#row_list[@]} rows and ${#server_list[@]} servers"
for (( round = 1; round <= rounds; round++ )); do
  for row in "${row_list[@]}"; do
    for server in "${server_list[@]}"; do
      sync  # what one left to be written must not slow the next
      warm "$server"
      # shellcheck disable=SC2046
      run_fio "$server" "$top/fio.json" $(job "$row") --time_based --ramp_time=1 --runtime="$seconds"
      "$SD_PYTHON" - "$top/fio.json" "$round" "$row" "$server" >>"$measurements" <<'PY' || die "fio's output is unreadable: $top/fio.json"
import json, sys
text = open(sys.argv[1]).read()
job = json.loads(text[text.index('{'):])['jobs'][0]
side = job['write'] if 'write' in sys.argv[3] else job['read']
percentile = side['clat_ns'].get('percentile', {})
print(*sys.argv[2:], side['iops'], side['bw_bytes'] / 1e6, percentile.get('50.000000', 0) / 1e3, percentile.get('99.000000', 0) / 1e3, sep='\t')
PY
    done
    tail -n ${#server_list[@]} "$measurements" | awk -F'\t' -v row="$row" -v round="$round" 'BEGIN { printf "round %d %-13s", round, row }
      { printf "  %s %s", $3, row ~ /^seq/ ? int($5) " MB/s" : int($4) " IOPS" } END { print "" }'
  done
done

for server in "${server_list[@]}"; do
  [[ $server == sheep* ]] || continue
  enter_cluster "$server"
  peak_kb[$server]=0
  for i in $(all_nodes); do
    kb=$(status_kb "$(node_pid "$i")" VmHWM)
    (( kb > peak_kb[$server] )) && peak_kb[$server]=$kb
  done
done
SD_STATE=$top

memory=''
for server in "${!idle_kb[@]}"; do memory+="$server ${idle_kb[$server]} ${peak_kb[$server]}"$'\n'; done
BENCH_MEMORY=$memory BENCH_SOCKETS=$( (( tcp )) && echo TCP || echo Unix ) BENCH_SIZE=$size BENCH_SECONDS=$seconds \
  "$SD_PYTHON" "$SD_ROOT/scripts/bench-table.py" "$measurements" "$json"
