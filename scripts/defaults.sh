# Settings shared by all scripts, to be sourced. Each can be set in the environment before.
# shellcheck shell=bash

SD_ROOT=${SD_ROOT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
SD_PRESET=${SD_PRESET:-release}                      # which build the scripts use
SD_BIN=${SD_BIN:-$SD_ROOT/build/$SD_PRESET/bin}      # where sheep, dog and sheepsim are

SD_NODES=${SD_NODES:-3}
SD_COPIES=${SD_COPIES:-3}
SD_BIND=${SD_BIND:-127.0.0.1}
SD_BASE_PORT=${SD_BASE_PORT:-7000}                   # node i: clients at base + 2i, peers one above
SD_NBD_BASE_PORT=${SD_NBD_BASE_PORT:-10809}          # node i: base + i
SD_LOG_LEVEL=${SD_LOG_LEVEL:-info}
SD_SHEEP_ARGS=${SD_SHEEP_ARGS:-}                     # more options for every sheep, separated by spaces

SD_START_TIMEOUT=${SD_START_TIMEOUT:-30}             # seconds until a started node must answer
SD_HEALTH_TIMEOUT=${SD_HEALTH_TIMEOUT:-60}           # seconds until a cluster must be healthy again
SD_STOP_TIMEOUT=${SD_STOP_TIMEOUT:-30}               # seconds a clean stop may take

SD_PYTHON=${SD_PYTHON:-/usr/bin/python3}             # the one that python3-libnbd belongs to
SD_STATE=${SD_STATE:-${XDG_STATE_HOME:-/tmp}/sheepdog-$UID}  # data, logs and process ids of scripts/cluster.sh
SD_JOBS=${SD_JOBS:-$(nproc)}
