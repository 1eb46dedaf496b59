#!/usr/bin/env bash
# Input and output through real clients, on three real nodes: every write is read back by another program, through every node.
#
#   scripts/test-io.sh [--keep] [--skip-directio] [--preset NAME]
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
skip_directio=0
read_options "--skip-directio!=skip_directio" "$@"
need_binaries
private_cluster test-io
work=$SD_STATE/work
mkdir -p "$work"

# io NODE DISK COMMAND...: qemu-io on that node's export. Its exit code has not always told of wrong patterns, so the text counts too.
io() {
  local node=$1 disk=$2 command args=() output; shift 2
  for command in "$@"; do args+=(-c "$command"); done
  output=$(qemu-io -f raw -t writeback "${args[@]}" "$(nbd_uri "$node" "$disk")" 2>&1) || { echo "$output"; return 1; }
  if grep -Eq 'verification failed|error|failed' <<<"$output"; then echo "$output"; return 1; fi
}
object=$(( 4 << 20 ))
bytes_kept() { du -s --block-size=1 "$(node_dir "$1")/obj" 2>/dev/null | cut -f1; }
keeps_less_than() { (( $(bytes_kept "$1") < $2 )); }
create() { check "a disk '$1' of $2 is created" dog_on 0 vdi create "$1" "$2"; }

phase "Bad input: a cluster that is not formatted"
check "three nodes start and find each other" start_cluster || exit 1
check_exit 1 'format' "a disk cannot be created before the format" dog_on 0 vdi create early 1G
check_exit 1 'not formatted.*dog cluster format' "an NBD client is told that there is no format yet" qemu-img info "$(nbd_uri 0 early)"
check_exit 6 'format' "dog cluster check says so" dog_on 0 cluster check
check_exit 1 'not enough|copies|nodes|zones' "more copies than nodes are refused" dog_on 0 cluster format -c 4
check_exit 64 '' "copies must be a number" dog_on 0 cluster format -c many
check "the cluster is formatted with three copies" format_cluster 3
check_exit 3 'exist|format' "formatting again is refused" dog_on 0 cluster format -c 2

phase "Bad input: names, sizes, directories, ports"
long=$(printf 'n%.0s' {1..256})
check "a name of 255 bytes is accepted" dog_on 0 vdi create "${long:1}" 4M
check_exit '(1|64)' 'name|long' "a name of 256 bytes is refused" dog_on 0 vdi create "$long" 4M
check_exit '(1|64)' 'name|empty' "an empty name is refused" dog_on 0 vdi create '' 4M
check_exit '(1|64)' 'size|zero|0' "a size of zero is refused" dog_on 0 vdi create zero 0
check_exit '(1|64)' 'size|large|limit' "a size beyond the limit is refused" dog_on 0 vdi create huge 17P
check_exit 64 '' "a size that is no number is refused" dog_on 0 vdi create odd 12x
check_exit 1 'multiple of 512' "a size that is no number of sectors is refused" dog_on 0 vdi create odd 1000
check_exit 1 'control characters' "a name with a line break is refused" dog_on 0 vdi create $'two\nlines' 4M
check_exit 64 'UTF-8' "a name that is no UTF-8 is refused" dog_on 0 vdi create $'\xff' 4M
check_exit 1 '4 copies need nodes' "a disk of more copies than nodes is refused" dog_on 0 vdi create wide 4M -c 4
create basic 128M
check_exit 3 'exist' "a name in use is refused" dog_on 1 vdi create basic 1M
check_exit 5 '' "deleting what is not there says so" dog_on 0 vdi delete nothing
check_exit 5 '' "reading what is not there says so" dog_on 0 vdi read nothing
check_exit 64 "'dog vdi' has no command 'conjure'" "an unknown command is a matter of usage" dog_on 0 vdi conjure
check_exit 64 'behind the VDI' "a range past the end is refused" dog_on 0 vdi read basic 1G
json_error() { "$@" 2>&1 >/dev/null | "$SD_PYTHON" -c "import json, sys; e = json.loads(sys.stdin.read()); sys.exit(not e['error'] or e['exit'])"; }
check_exit 5 '' "with --json, errors are JSON" json_error dog_on 0 --json vdi info nothing
check_exit 64 '' "those of usage too" json_error dog_on 0 --json vdi create
# Each command that has none below it, with the path to it as arguments.
leaves() {
  local name inner
  inner=$("$dog" "$@" --help | sed -n '/^Subcommands:/,/^$/s/^  \([a-z-]*\) .*/\1/p')
  for name in $inner; do leaves "$@" "$name"; done
  [[ -n $inner ]] || echo "$*"
}
lacks_examples() {
  local command lacking=0
  while read -r command; do
    # shellcheck disable=SC2086
    "$dog" $command --help | sed -n '/^Examples\?:/,$p' | grep -Eq "^  dog .*${command// /.*}" || { echo "dog $command --help"; lacking=1; }
  done
  return $(( ! lacking ))
}
check "every command's --help has an example of its own" eval '[[ $(leaves | wc -l) -gt 15 ]] && ! lacks_examples < <(leaves)'
check_exit '(1|2)' "$(node_port 0)|connect|refused" "a node that does not answer is named" "$dog" -a "$SD_BIND" -p 1 cluster info
free_port=$(( SD_BASE_PORT + 30 ))
check_exit 2 'lock|use' "a second sheep on the same directory is refused" timeout 20 "$sheep" -b "$SD_BIND" -p $free_port "$(node_dir 0)"
check_exit 2 'port|address|use' "a port in use is refused" timeout 20 "$sheep" -b "$SD_BIND" -p "$(node_port 0)" "$work/other"
check_exit 2 'port|address|use' "an NBD port in use is refused" \
  timeout 20 "$sheep" -b "$SD_BIND" -p $free_port --nbd --nbd-port "$(node_nbd_port 0)" "$work/other"
: >"$work/file"
check_exit 2 'not a directory' "a data directory that is a file is refused" timeout 20 "$sheep" -b "$SD_BIND" -p $free_port "$work/file"
check_exit 2 'does not exist' "a data directory inside one that is missing is refused" timeout 20 "$sheep" -b "$SD_BIND" -p $free_port "$work/no/dir"
check_exit 2 'no such address' "an address of another machine is refused" timeout 20 "$sheep" -b 192.0.2.1 -p $free_port "$work/other"
check_exit 2 'valid port' "a seed without a valid port is refused" timeout 20 "$sheep" -b "$SD_BIND" -p $free_port --seed "$SD_BIND:port" "$work/other"
check_exit 2 'in use' "a Unix socket in use is refused" timeout 20 "$sheep" -b "$SD_BIND" -p $free_port --nbd-socket "$(node_socket 0)" "$work/other"
check_exit 64 'sheep: .*--help' "an unknown option is a matter of usage" "$sheep" --sheer "$work/other"
check_exit 2 'no data directory' "storedump takes no directory for an empty one" "$SD_BIN/storedump" "$work/nowhere"
check_exit 2 'closed the connection' "dog on the port between nodes says so" "$dog" -a "$SD_BIND" -p $(( $(node_port 0) + 1 )) vdi list
check_exit 2 'does not speak' "dog on an NBD port says so" "$dog" -a "$SD_BIND" -p "$(node_nbd_port 0)" vdi list
check "all nodes still serve" wait_healthy 0

phase "Basic: write, then read through another node"
for size in 4k 64k 256k 1M; do
  for index in 0 1 2 3; do
    at=$(( index * object )) node=$(( index % 3 )) other=$(( (index + 1) % 3 ))
    check "$size at object $index, node $node to node $other" eval "
      io $node basic 'write -P $(( 0x10 + index )) $at $size' && io $other basic 'read -P $(( 0x10 + index )) $at $size'"
  done
done
for index in 0 1 2 3; do
  check "object $index is as written, and zeros beyond" io $(( index % 3 )) basic \
    "read -P $(( 0x10 + index )) $(( index * object )) 1M" "read -P 0 $(( index * object + (1 << 20) )) 3M"
done

phase "Overwrite: whole and in part"
for index in 0 1 2 3; do
  at=$(( index * object ))
  check "object $index is written over" io 0 basic "write -P 0xe1 $at 1M" "read -P 0xe1 $at 1M"
  check "a part of object $index changes only itself" io 1 basic "write -P 0xe2 $(( at + 65536 )) 8k" \
    "read -P 0xe1 $at 64k" "read -P 0xe2 $(( at + 65536 )) 8k" "read -P 0xe1 $(( at + 65536 + 8192 )) 64k"
  check "a sector of object $index changes only itself" io 2 basic "write -P 0xe3 $(( at + 4096 + 512 )) 512" \
    "read -P 0xe1 $(( at + 4096 )) 512" "read -P 0xe3 $(( at + 4096 + 512 )) 512" "read -P 0xe1 $(( at + 4096 + 1024 )) 3072"
done
check "a flush, and everything is still there" io 0 basic flush "read -P 0xe1 0 4k" "read -P 0xe3 4608 512"

phase "Across the boundary of objects"
for index in 1 2 3; do
  at=$(( index * object - 4096 ))
  check "8 KB across the start of object $index" io 0 basic "write -P 0x81 $at 8k" "read -P 0x81 $at 8k"
  check "... is the same through another node" io 1 basic "read -P 0x81 $at 4k" "read -P 0x81 $(( at + 4096 )) 4k"
  at=$(( index * object - 524288 ))
  check "1 MB across the start of object $index" io 1 basic "write -P 0x82 $at 1M" "read -P 0x82 $at 1M"
  check "... is the same through another node" io 2 basic "read -P 0x82 $at 1M"
done
check "one sector on each side of a boundary" io 0 basic "write -P 0x83 $(( 5 * object - 512 )) 1024" \
  "read -P 0x83 $(( 5 * object - 512 )) 512" "read -P 0x83 $(( 5 * object )) 512" "read -P 0 $(( 5 * object + 512 )) 512"

phase "Large: many objects in one request"
for size in 8 16 32; do
  check "$size MB in one request" io 0 basic "write -P $(( 0x90 + size )) 64M ${size}M" "read -P $(( 0x90 + size )) 64M ${size}M"
  check "... is the same through another node" io 2 basic "read -P $(( 0x90 + size )) 64M ${size}M"
  check "$size MB from the middle of an object" io 1 basic "write -P $(( 0xa0 + size )) 65M ${size}M" \
    "read -P $(( 0x90 + size )) 64M 1M" "read -P $(( 0xa0 + size )) 65M ${size}M"
done

phase "Sparse: a disk of 16 TB"
before=$(bytes_kept 0)
create sparse 16T
check "a new disk takes no space" keeps_less_than 0 $(( before + (1 << 20) ))
for at in 0 5G 1T 8T 17592186040320; do
  check "4 KB at $at, with zeros around" io 0 sparse "write -P 0x5a $at 4k" "read -P 0x5a $at 4k"
done
check "never written space reads as zeros" io 1 sparse "read -P 0 3G 1M" "read -P 0 15T 1M" "read -P 0 $(( (5 << 30) + 4096 )) 64k"
check "what was written is there through another node" io 2 sparse "read -P 0x5a 8T 4k" "read -P 0x5a 17592186040320 4k" "read -P 0x5a 0 4k"
check "five blocks take the space of five blocks, not of objects" keeps_less_than 0 $(( before + (8 << 20) ))
check "deleting gives the name back" dog_on 0 vdi delete sparse
create growing 6M
check "its last bytes are written" io 0 growing "write -P 0x61 5M 1M"
check "it grows" dog_on 1 vdi resize growing 18M
check "what is new is served by every node" eval '(for node in 0 1 2; do io $node growing "read -P 0x61 5M 1M" "read -P 0 6M 12M" || exit 1; done)'
check "and can be written" io 2 growing "write -P 0x62 5M 13M" "read -P 0x62 5M 13M"
check_exit 1 'only grows' "it does not shrink" dog_on 0 vdi resize growing 6M
check "it is deleted" dog_on 0 vdi delete growing
check_exit 1 '' "a deleted disk is not served" io 0 sparse "read 0 4k"

phase "The protocol"
create protocol 128M
step "nbd-check.py"
if "$SD_PYTHON" "$SD_ROOT/scripts/nbd-check.py" "$SD_BIND" "$(node_nbd_port 0)" protocol "$(node_nbd_port 1)" >"$work/nbd-check.log" 2>&1; then
  step "all is well there"
else
  # Without its total, which is added to this script's own.
  grep -Ev '^ok|^[0-9]+ passed' "$work/nbd-check.log"
fi
read -r more_passed _ more_failed _ < <(tail -n 1 "$work/nbd-check.log" | grep -E '^[0-9]+ passed, [0-9]+ failed$' | tr -d ,)
passed=$(( passed + ${more_passed:-0} )) failed=$(( failed + ${more_failed:-1} ))
check "nbdinfo tells the flags, over TCP" eval "nbdinfo --json '$(nbd_uri 0 protocol)' | $SD_PYTHON -c '
import json, sys
e = json.load(sys.stdin)[\"exports\"][0]
wanted = [\"can_cache\", \"can_df\", \"can_fast_zero\", \"can_flush\", \"can_fua\", \"can_multi_conn\", \"can_trim\", \"can_zero\"]
missing = [w for w in wanted if e[w] is not True]
assert not missing, missing
assert e[\"contexts\"] == [\"base:allocation\"], e
assert e[\"is_read_only\"] is False and e[\"export-size\"] == 128 << 20, e
assert e[\"block_size_minimum\"] == 512 and e[\"block_size_preferred\"] >= 4096 and e[\"block_size_maximum\"] == 32 << 20, e'"
check "nbdinfo lists the disks, over a Unix socket" eval "nbdinfo --list 'nbd+unix:///?socket=$(node_socket 1)' | grep -c 'export=\"protocol\"'"
check "qemu-nbd lists the disks" eval "qemu-nbd --list -b $SD_BIND -p $(node_nbd_port 2) | grep -c \"'basic'\""
check_exit 1 'no disk has this name.*dog vdi list' "an unknown disk is refused" qemu-img info "$(nbd_uri 0 nothing)"
check "a client that breaks the protocol stands in the log" grep -q 'broke the protocol (a request with a wrong magic number)' "$(node_log 0)"
create many 64M
check "an hour of a disk's life in three seconds (random reads, writes, trims, flushes)" \
  "$SD_PYTHON" "$SD_ROOT/scripts/nbd-oracle.py" run "$work/many" --uri "$(nbd_unix_uri 1 many)" --seconds 3 --depth 32
check "... and all of it is right through another node" "$SD_PYTHON" "$SD_ROOT/scripts/nbd-oracle.py" verify "$work/many" --uri "$(nbd_uri 2 many)"

phase "Trim and zeroes give space back"
create space 128M
create filler 64M
# Updates reach object files when enough of them wait in the journal: other writes push them out.
settle() { io 0 filler "write -P 0x11 0 32M" "write -P 0x11 0 32M" flush; }
keeps_more_than() { (( $(bytes_kept "$1") > $2 )); }
check "something else is written" settle
before=$(bytes_kept 0)
check "64 MB are written" io 0 space "write -P 0x77 0 32M" "write -P 0x78 32M 32M" flush
check "... and reach the object files" settle
check "they take 64 MB" wait_until 30 "data in object files" keeps_more_than 0 $(( before + (60 << 20) ))
check "base:allocation shows data and hole" eval "nbdinfo --map '$(nbd_uri 0 space)' | awk '
  \$3 == 0 { data += \$2 } \$3 == 3 { hole += \$2 } END { exit !(data == 67108864 && hole == 67108864) }'"
full=$(bytes_kept 0)
check "half of it is trimmed" io 1 space "discard 0 32M" flush "read -P 0 0 32M" "read -P 0x78 32M 32M"
check "base:allocation still shows the data, and covers the disk" eval "nbdinfo --map '$(nbd_uri 2 space)' | awk '
  \$1 <= 33554432 && \$1 + \$2 >= 67108864 && \$3 == 0 { data = 1 } \$1 == 33554432 && \$3 == 0 { data = 1 } { all += \$2 } END { exit !(data && all == 134217728) }'"
check "other writes push the trim out" settle
for node in 0 1 2; do
  check "node $node keeps less" wait_until 30 "space to be given back" keeps_less_than $node $(( full - (30 << 20) ))
done
check "the other half is zeroed" io 2 space "write -z -u 32M 32M" flush "read -P 0 0 64M"
check "other writes push the zeroes out" settle
check "they take no space either" wait_until 30 "space to be given back" keeps_less_than 0 $(( full - (60 << 20) ))
check "zeroes may be written over" io 0 space "write -P 0x79 16M 1M" "read -P 0x79 16M 1M" "read -P 0 17M 1M"

phase "A real file system"
mkdir -p "$work/files" "$work/back"
cp -r "$SD_ROOT/core" "$SD_ROOT/scripts" "$SD_ROOT/LICENSE" "$work/files/"
head -c 9M /dev/urandom >"$work/files/random"
truncate -s 96M "$work/fs.raw"
check "mkfs.ext4 makes an image" /sbin/mkfs.ext4 -q -F -d "$work/files" "$work/fs.raw"
create fs 96M
check "qemu-img convert copies it onto a disk" qemu-img convert -n -f raw -O raw "$work/fs.raw" "$(nbd_uri 0 fs)"
check "qemu-img compare finds no difference, through another node" qemu-img compare -f raw -F raw "$work/fs.raw" "$(nbd_uri 1 fs)"
check "qemu-img convert reads it back" qemu-img convert -f raw -O raw "$(nbd_uri 2 fs)" "$work/back.raw"
check "e2fsck finds it clean" /sbin/e2fsck -fn "$work/back.raw"
check "its files are all there" eval "/sbin/debugfs -R 'rdump / $work/back' '$work/back.raw' 2>/dev/null && rm -rf '$work/back/lost+found' && diff -r '$work/files' '$work/back'"
rm -f "$work/back.raw"

phase "nbdcopy, both ways"
create copy 96M
check "nbdcopy onto a disk" nbdcopy --flush "$work/fs.raw" "$(nbd_unix_uri 0 copy)"
check "nbdcopy from a disk, through another node" nbdcopy "$(nbd_uri 1 copy)" "$work/copied.raw"
check "both are equal" cmp "$work/fs.raw" "$work/copied.raw"
check "nbdcopy from disk to disk" nbdcopy "$(nbd_uri 0 fs)" "$(nbd_uri 2 copy)"
check "both disks are equal" qemu-img compare -f raw -F raw "$(nbd_uri 1 fs)" "$(nbd_uri 0 copy)"
rm -f "$work/copied.raw"

phase "dog reads and writes disks too"
create dogdisk 16M
head -c 5M "$work/fs.raw" >"$work/five"
check "dog vdi write takes what it is piped" eval "dog_on 1 vdi write dogdisk <'$work/five'"
check "dog vdi read gives it back" eval "dog_on 2 vdi read dogdisk >'$work/all' && cmp -n 5242880 '$work/all' '$work/five' && [[ \$(stat -c %s '$work/all') == 16777216 ]]"
check "NBD sees the same" eval "nbdcopy '$(nbd_uri 0 dogdisk)' '$work/nbd' && cmp '$work/nbd' '$work/all'"

if (( ! skip_directio )); then
  phase "Direct I/O: all nodes again with --directio"
  check "all nodes stop cleanly" stop_all
  check "all nodes start with --directio" start_cluster --directio
  check "the cluster is healthy" wait_healthy 0
  check "what was written before is there" io 0 basic "read -P 0x83 $(( 5 * object - 512 )) 1024" "read -P 0xc0 65M 32M"
  check "the file system is there" qemu-img compare -f raw -F raw "$work/fs.raw" "$(nbd_uri 2 fs)"
  for size in 512 4k 64k 1M; do
    check "$size, aligned and not" io 0 basic "write -P 0xd1 40M $size" "read -P 0xd1 40M $size" \
      "write -P 0xd2 $(( (48 << 20) + 1536 )) $size" "read -P 0xd2 $(( (48 << 20) + 1536 )) $size"
    check "... is the same through another node" io 1 basic "read -P 0xd1 40M $size" "read -P 0xd2 $(( (48 << 20) + 1536 )) $size"
  done
  check "8 MB across objects" io 2 basic "write -P 0xd3 33M 8M" "read -P 0xd3 33M 8M"
  check "a part changes only itself" io 0 basic "write -P 0xd4 $(( (34 << 20) + 512 )) 512" "read -P 0xd3 34M 512" \
    "read -P 0xd4 $(( (34 << 20) + 512 )) 512" "read -P 0xd3 $(( (34 << 20) + 1024 )) 1M"
  check "trim and zeroes" io 1 basic "discard 36M 4M" "write -z 40M 1M" "read -P 0 36M 4M" "read -P 0 40M 1M"
  check "three seconds of random life" \
    "$SD_PYTHON" "$SD_ROOT/scripts/nbd-oracle.py" run "$work/many" --uri "$(nbd_unix_uri 0 many)" --seconds 3 --depth 32
  check "... are right through another node" "$SD_PYTHON" "$SD_ROOT/scripts/nbd-oracle.py" verify "$work/many" --uri "$(nbd_uri 1 many)"
  check "all nodes stop cleanly" stop_all
  check "and start without it" start_cluster
  check "the cluster is healthy" wait_healthy 0
  check "nothing was lost on the way" io 2 basic "read -P 0xd3 $(( (34 << 20) + 1024 )) 1M" "read -P 0 36M 4M"
fi

phase "The end"
check "the cluster is healthy" wait_healthy 0
check "all nodes stop cleanly" stop_all
summary
