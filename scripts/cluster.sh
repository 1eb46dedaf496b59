#!/usr/bin/env bash
# A cluster of several sheep on this machine, to try things out.
#
#   scripts/cluster.sh start [--nodes N] [--format] [--copies N] [--nbd] [-- OPTIONS FOR EVERY SHEEP]
#   scripts/cluster.sh status     processes, members, disks
#   scripts/cluster.sh stop       all nodes, cleanly; `start` brings everything back
#   scripts/cluster.sh clean      stop, and delete all data
#
# Node i listens for clients on port 7000 + 2i, for peers on 7001 + 2i and for NBD on 10809 + i. (NBD is always on; --nbd is accepted.)
# Data and logs are in $SD_STATE (default: $XDG_STATE_HOME/sheepdog-UID, or /tmp/sheepdog-UID); scripts/defaults.sh has the rest.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

command=${1-}
(( $# )) && shift
format=0 nodes='' copies='' extra=()
while (( $# )); do
  case $1 in
    --nbd) ;;
    --format) format=1 ;;
    --copies) copies=${2:?--copies needs a number}; shift ;;
    --nodes) nodes=${2:?--nodes needs a number}; shift ;;
    --) shift; extra=("$@"); break ;;
    -h | --help) usage; exit 0 ;;
    *) echo "cluster.sh: unknown option '$1'" >&2; usage >&2; exit 64 ;;
  esac
  shift
done
# What was started is what is stopped: the number of nodes is kept with the data.
if [[ -n $nodes ]]; then SD_NODES=$nodes
elif [[ -r $SD_STATE/nodes ]]; then SD_NODES=$(<"$SD_STATE/nodes")
fi
[[ $SD_NODES =~ ^[1-9][0-9]?$ ]] || die "the number of nodes is from 1 to 99, not '$SD_NODES'"

# As many copies as wished for, or three, or what so few nodes can hold.
[[ -n $copies ]] || copies=$(( SD_COPIES < SD_NODES ? SD_COPIES : SD_NODES ))

started=0
for i in $(all_nodes); do node_alive "$i" && started=$(( started + 1 )); done

# Process ids and data are believed: nobody else may have put them there.
[[ ! -e $SD_STATE && ! -L $SD_STATE ]] || [[ -O $SD_STATE && ! -L $SD_STATE ]] ||
  die "$SD_STATE belongs to somebody else, or is a link; set SD_STATE to a directory of your own"

case $command in
  start)
    need_binaries
    [[ -d $SD_STATE ]] || mkdir -p -m 700 "$SD_STATE" || die "cannot make $SD_STATE"
    echo "$SD_NODES" >"$SD_STATE/nodes"
    step "starting $SD_NODES nodes in $SD_STATE"
    start_cluster "${extra[@]}" || die "not all nodes came up; the logs are in $SD_STATE"
    if (( format )); then
      # Formatting twice would throw away the disks, so it is refused by the cluster unless forced, and that is fine here.
      format_cluster "$copies" || warn "not formatted now (see above); an existing format stays as it is"
    fi
    dog_on 0 node list
    echo "Disks are at nbd://$SD_BIND:$(node_nbd_port 0)/NAME (and on every other node). Make one: $dog -p $(node_port 0) vdi create NAME 10G" ;;
  status)
    (( started )) || { echo "no node of $SD_STATE runs"; exit 1; }
    for i in $(all_nodes); do
      if node_alive "$i"; then
        echo "node $i: process $(node_pid "$i"), clients $SD_BIND:$(node_port "$i"), nbd $SD_BIND:$(node_nbd_port "$i"), data $(node_dir "$i")"
      else
        echo "node $i: stopped"
      fi
    done
    for i in $(all_nodes); do
      if node_alive "$i"; then
        dog_on "$i" cluster info
        dog_on "$i" node list
        dog_on "$i" vdi list
        dog_on "$i" cluster check
        exit $?
      fi
    done ;;
  stop)
    stop_all || exit 1
    echo "stopped $started nodes; data stays in $SD_STATE" ;;
  clean)
    stop_all
    rm -rf "$SD_STATE"/node[0-9]* "$SD_STATE/nodes"
    rmdir "$SD_STATE" 2>/dev/null
    echo "stopped $started nodes, and deleted the data in $SD_STATE" ;;
  -h | --help | help) usage ;;
  *) usage >&2; exit 64 ;;
esac
