#!/usr/bin/env bash
# A node on a file system that a guest fills to the last byte: writes are refused with "no space", nothing that was acknowledged is lost,
# the node starts while it is full, and trims and deletes empty it. Needs root, for the small file system.
#
#   scripts/test-full.sh [--keep] [--size MB] [--loop] [--preset NAME]
#     --size MB   of the file system (default 400)
#     --loop      ext4 in a file, through a loop device, instead of tmpfs
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
size=400 loop=0
read_options "--size=size --loop!=loop" "$@"
need_binaries
if (( $(id -u) != 0 )); then warn "not root: nothing is tested"; exit 77; fi
SD_NODES=1
private_cluster full
mounted=$(node_dir 0)
mkdir -p "$mounted"
if (( loop )); then
  truncate -s "${size}M" "$SD_STATE/fs.img" && mkfs.ext4 -q -m 0 "$SD_STATE/fs.img" && mount -o loop "$SD_STATE/fs.img" "$mounted" || die "cannot make a small file system"
else
  mount -t tmpfs -o "size=${size}M" sheepdog-full "$mounted" || die "cannot mount a small file system"
fi
unmount() { kill_all; umount "$mounted" 2>/dev/null || umount -l "$mounted"; end_private_cluster; }
trap unmount EXIT

# guest COMMAND...: what a guest does with the disk; blocks of 1 MB that say their number and their round.
guest() {
  "$SD_PYTHON" - "$(nbd_uri 0 disk)" "$SD_STATE/guest" "$@" <<'PY'
import errno, nbd, pickle, sys
uri, state, what, *rest = sys.argv[1:]
MB = 1 << 20
try:
    known = pickle.load(open(state, "rb"))  # block -> round, None for zeros; a set where a write failed
except FileNotFoundError:
    known = {}
h = nbd.NBD()
h.connect_uri(uri)
def data(block, round): return (b"%d.%d " % (block, round) * (MB // 4))[:MB]
def write(block, round):
    before = known.get(block, {None})
    try:
        h.pwrite(data(block, round), block * MB)
    except nbd.Error as error:
        if error.errnum != errno.ENOSPC: raise
        known[block] = before | {round}
        return False
    known[block] = {round}
    return True
if what == "fill":
    done = 0
    while write(done, 1): done += 1
    h.flush()
    print(done, "MB written")
    if done < int(rest[0]): sys.exit("full too soon")
elif what == "refused":
    sys.exit(0 if not write(1000, 2) else "a write that needs space went through")
elif what == "trim":
    for block in sorted(known)[int(rest[0])::2]:
        h.trim(MB, block * MB)
        known[block] = {None}
    h.flush()
elif what == "again":
    refused = [block for block in sorted(known)[int(rest[0])::4] if not write(block, 3)]
    h.flush()
elif what == "verify":
    for block, rounds in sorted(known.items()):
        got = h.pread(MB, block * MB)
        if got not in [bytes(MB) if r is None else data(block, r) for r in rounds]: sys.exit("block %d holds something else" % block)
    print(len(known), "MB hold what they should")
h.shutdown()
pickle.dump(known, open(state, "wb"))
if what == "again" and refused: sys.exit("blocks %s are still refused" % refused)
PY
}
used_mb() { df -BM --output=used "$mounted" | tail -n 1 | tr -dc 0-9; }
uses_less_than() { (( $(used_mb) < $1 )); }
wait_says_full() { wait_until 20 "the check" says_full; dog_on 0 cluster check; }
says_full() { [[ $(dog_on 0 cluster check) == *"is full"* ]]; }
serves() { [[ $(dog_on 0 --json node info) == *'"serving": true'* ]]; }
takes_writes() { guest again "$1"; }

phase "A guest fills the disk"
check "a node starts" start_cluster --journal-size 32 || exit 1
check "the cluster is formatted" format_cluster 1 || exit 1
check "a disk larger than the file system is created" dog_on 0 vdi create disk 2G || exit 1
check "it takes most of the space, then says that there is none" guest fill $(( size * 3 / 5 ))
step "$(used_mb) MB of $size are in use"
check "all of it can be read" guest verify
check_exit 4 'no space.*add a node or free space' "dog is refused too, and told what to do" eval "head -c 64M /dev/urandom | dog_on 0 vdi write disk 1500M"
check_exit 6 'error: the disk of the asked node is full' "dog cluster check says that the disk is full" wait_says_full

phase "The node starts while it is full"
check "it stops" stop_node 0
check "it starts" start_node 0 --journal-size 32
check "it serves" wait_until 30 "it to serve" serves
check "all of it can be read" guest verify
check "writes that need space are refused" guest refused
kill_node 0
check "it starts after kill -9" start_node 0 --journal-size 32
check "all of it can be read" guest verify

phase "Trims empty it"
full=$(used_mb)
check "half of the disk is trimmed" guest trim 0
check "the space comes back" wait_until 30 "space" uses_less_than $(( full - size / 8 ))
check "what was trimmed reads as zeros, the rest as before" guest verify
check "half of that can be written again" wait_until 30 "writes to be taken" takes_writes 0
check "all of it can be read" guest verify

phase "The disk is deleted"
check "the disk is deleted" dog_on 0 vdi delete disk
check "the space comes back" wait_until 60 "space" uses_less_than 120
check "the node stops" stop_node 0
grep -E "error|warning" "$(node_log 0)" | tail -n 8 | sed 's/^/      | /'
summary
