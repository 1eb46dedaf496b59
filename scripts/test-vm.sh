#!/usr/bin/env bash
# A virtual machine lives on a disk of the cluster: Linux boots from it under QEMU, and writes checksummed files to its ext4 while a node
# is killed, while the node that QEMU talks to is killed, and until everything is killed at once. Not part of test.sh: it installs QEMU's
# system emulator and downloads a kernel (some 30 MB, kept in build/vm), and emulates the processor in software.
#
#   scripts/test-vm.sh [--keep] [--preset NAME]
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
read_options '' "$@"
need_binaries
"$SD_ROOT/scripts/setup.sh" --vm || exit 1
private_cluster vm
work=$SD_STATE/work
kept=$SD_ROOT/build/vm
mkdir -p "$work" "$kept"

# ---- the guest -----------------------------------------------------------------------------------------------------------------

# Debian's kernel for virtual machines; ext4 is part of it, the virtio drivers are modules.
fetch_kernel() {
  [[ -e $kept/vmlinuz ]] && return 0
  local package
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2 }')
  [[ -n $package ]] || return 1
  (cd "$kept" && apt-get download "$package" && dpkg -x linux-image-*.deb unpacked && rm linux-image-*.deb) || return 1
  mv "$kept"/unpacked/boot/vmlinuz-* "$kept/vmlinuz"
}

drivers=(virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk)

# What the boot loader would bring: drivers, and the step over to the disk.
make_initrd() {
  local root=$work/initrd driver
  mkdir -p "$root"/{bin,dev,proc,disk,lib} || return 1
  cp /bin/busybox "$root/bin/" || return 1
  for driver in "${drivers[@]}"; do cp "$(find "$kept/unpacked" -name "$driver.ko")" "$root/lib/" || return 1; done
  cat >"$root/init" <<END
#!/bin/busybox sh
b=/bin/busybox
\$b mount -t devtmpfs dev /dev
for driver in ${drivers[*]}; do \$b insmod /lib/\$driver.ko; done
\$b mount -t ext4 /dev/vda /disk && \$b mount --move /dev /disk/dev && exec \$b switch_root /disk /sbin/init
echo "guest: no root file system"
\$b poweroff -f
END
  chmod +x "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd.gz"
}

# The guest's disk. On each line from the console it does one of: work (until the next line), verify, poweroff.
make_disk() {
  local root=$work/root
  mkdir -p "$root"/{bin,sbin,dev,proc,tmp,data,sums} || return 1
  cp /bin/busybox "$root/bin/" || return 1
  cat >"$root/sbin/init" <<'END'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin
work() {
  i=0
  while [ ! -e /tmp/stop ]; do
    i=$((i + 1)); f=$((i % 48))
    rm -f /sums/$f && dd if=/dev/urandom of=/data/$f bs=32k count=$((i % 7 + 1)) 2>/tmp/dd && md5sum /data/$f >/tmp/sum && sync && cp /tmp/sum /sums/$f && sync || echo "guest: write $i FAILED"
    echo "guest: wrote $i"
  done
}
verify() {
  sync; echo 3 >/proc/sys/vm/drop_caches
  cat /sums/* >/tmp/all
  if md5sum -c /tmp/all >/tmp/result 2>&1; then echo "guest: all $(grep -c OK /tmp/result) files are right"; else grep -v OK /tmp/result; echo "guest: files are WRONG"; fi
}
echo "guest: up"
while read -r line; do
  case $line in
    work) rm -f /tmp/stop; work & ;;
    stop) touch /tmp/stop; wait; echo "guest: stopped" ;;
    verify) verify ;;
    poweroff) sync; mount -o remount,ro /; echo "guest: off"; poweroff -f ;;
  esac
done
END
  chmod +x "$root/sbin/init"
  mkfs.ext4 -q -d "$root" "$work/disk.raw" 256M || return 1
  dog_on 0 vdi create vm 256M || return 1
  qemu-img convert -n -f raw -O raw "$work/disk.raw" "$(nbd_uri 0 vm)"
}

# boot NODE: the machine, its disk served by that node. QEMU reconnects when the node comes back.
boot() {
  rm -f "$work/keys"; mkfifo "$work/keys"
  : >"$work/console"
  qemu-system-x86_64 -accel tcg -M q35 -m 256 -nodefaults -no-reboot -display none -serial stdio -kernel "$kept/vmlinuz" -initrd "$work/initrd.gz" \
    -append "console=ttyS0 quiet panic=-1" \
    -blockdev "driver=nbd,node-name=disk,server.type=inet,server.host=$SD_BIND,server.port=$(node_nbd_port "$1"),export=vm,reconnect-delay=120" \
    -device virtio-blk-pci,drive=disk <>"$work/keys" >>"$work/console" 2>&1 &
  vm=$!
  saw "guest: up" 120
}
type_line() { echo "$1" >"$work/keys"; }
saw() { wait_until "${2:-60}" "the guest to say '$1'" grep -q -- "$1" "$work/console"; }
written() { grep -c 'guest: wrote' "$work/console"; }
written_more_than() { (( $(written) > $1 )); }
goes_on() { wait_until 120 "the guest to write $1 more files" written_more_than $(( $(written) + $1 )); }
all_right() {
  type_line verify
  wait_until 60 "the guest to verify" grep -Eq 'guest: (all|files)' "$work/console" && grep 'guest: all' "$work/console" && ! grep FAILED "$work/console"
}
off() { type_line poweroff; saw "guest: off" && wait "$vm"; }
kill_vm() { { kill -KILL "$vm"; wait "$vm"; } 2>/dev/null; return 0; }
disk_is_clean() { qemu-img convert -f raw -O raw "$(nbd_uri "$1" vm)" "$work/copy.raw" && e2fsck -fn "$work/copy.raw"; }

# ---- what is tested ------------------------------------------------------------------------------------------------------------

phase "A machine on a disk of three copies"
check "a kernel is there" fetch_kernel || exit 1
check "its start-up files are made" make_initrd || exit 1
check "the cluster starts" start_cluster || exit 1
check "the cluster is formatted" format_cluster 3 || exit 1
check "a system is written to a new disk" make_disk || exit 1
check "the machine boots from it" boot 0 || { tail -n 20 "$work/console"; exit 1; }
type_line work
check "it writes files" goes_on 5

phase "A node dies that holds copies"
check "node 2 is killed" kill_node 2
check "the machine goes on writing" goes_on 10
check "node 2 returns" start_node 2
check "the cluster becomes healthy" wait_healthy 0
check "the machine has gone on all the time" goes_on 3

phase "The node dies that the machine's disk is served by"
check "node 0 is killed" kill_node 0
check "node 0 returns" start_node 0
check "the machine goes on writing" goes_on 10
check "the cluster becomes healthy" wait_healthy 1
type_line stop
check "the machine pauses" saw "guest: stopped"
check "every file is as it was written" all_right
check "the machine shuts down" off
check "its file system is clean, read through another node" disk_is_clean 2

phase "Everything dies at once"
check "the machine boots, served by node 1" boot 1 || { tail -n 20 "$work/console"; exit 1; }
type_line work
check "it writes files" goes_on 20
kill_all
kill_vm
check "all nodes start again" start_cluster
check "the cluster becomes healthy" wait_healthy 0
check "the machine boots, served by node 2" boot 2 || { tail -n 20 "$work/console"; exit 1; }
check "every file that it had synced is as it was written" all_right
check "the machine shuts down" off
check "its file system is clean" disk_is_clean 0
check "all nodes stop cleanly" stop_all
summary
