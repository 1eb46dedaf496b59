#!/usr/bin/env bash
# Proves that a change only moved code: the simulator built from another commit and from this tree must run the same
# seeds in the same way, step by step (a trace hash covers every input and every effect of every node).
#
#   scripts/same-runs.sh [BASE [A..B]]     BASE is a commit (default: HEAD), A..B are seeds (default: 1..2000)
#
# For example, before committing a move:  scripts/same-runs.sh HEAD 1..500
# Exit code: 0 all seeds run as before; 15 some do not (they are named); anything else: it could not be found out.
set -euo pipefail
[[ ${1-} == -h || ${1-} == --help ]] && { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0; }
cd "$(dirname "${BASH_SOURCE[0]}")/.."
base=$(git rev-parse --verify --quiet "${1-HEAD}^{commit}") || { echo "same-runs.sh: no commit '${1-}'" >&2; exit 64; }
seeds=${2-1..2000}
jobs=${SD_JOBS:-$(nproc)}
old=$PWD/build/same-runs
hashes=$PWD/build/same-runs-$base.txt

build() { (cd "$1" && cmake --preset sim && cmake --build --preset sim -j "$jobs" --target sheepsim) >/dev/null; }

mkdir -p build
git worktree remove --force "$old" 2>/dev/null || rm -rf "$old"
git worktree prune
git worktree add --quiet --detach "$old" "$base"
trap 'git worktree remove --force "$old"' EXIT
build "$old"
"$old/build/sim/bin/sheepsim" --seeds "$seeds" --jobs "$jobs" --write-hashes "$hashes"
build .
build/sim/bin/sheepsim --seeds "$seeds" --jobs "$jobs" --compare-hashes "$hashes"
