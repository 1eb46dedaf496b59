#!/usr/bin/env bash
# All tests, from nothing: installs packages, builds every preset, and runs unit tests, property tests, sanitizers, fuzz targets, the
# simulator, and the real programs against real clients. Stops at the first step that fails and shows the end of its log.
#
#   scripts/test.sh                 everything that fits into some twenty minutes on two idle cores
#   scripts/test.sh --long          also the planted bugs that take hundreds of seeds, and Clang's simulator against GCC's
#   scripts/test.sh --only PATTERN  only the steps whose names match the regular expression (and the set-up)
#   scripts/test.sh --list          the steps
#
# The last line is "N passed, M failed". Logs are in build/test-logs/.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.." || exit 1

only=. list=0 long=0
while (( $# )); do
  case $1 in
    --only) only=${2:?--only needs a pattern}; shift ;;
    --list) list=1 ;;
    --long) long=1 ;;
    *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; [[ $1 == -h || $1 == --help ]] && exit 0; exit 64 ;;
  esac
  shift
done

jobs=${SD_JOBS:-$(nproc)}
logs=$PWD/build/test-logs
passed=0 failed=0 begin=$SECONDS
rows=()

finish() {
  echo
  printf '%s\n' "${rows[@]}"
  printf '%-34s %6s s\n' "in all" $(( SECONDS - begin ))
  echo
  echo "$passed passed, $failed failed"
  exit $(( failed > 0 ))
}

# Adds up what a step reports: ctest's totals, "N passed, M failed" lines, seeds, planted bugs; a step that reports neither counts as one.
count_results() {
  awk '
    match($0, /^[0-9]+% tests passed, [0-9]+ tests? failed out of [0-9]+/) { split($0, w, " "); bad += w[4]; good += w[9] - w[4]; seen = 1 }
    /^[0-9]+ passed, [0-9]+ failed$/ { good += $1; bad += $3; seen = 1 }
    /^\[  PASSED  \] [0-9]+ tests?\.$/ { good += $4; seen = 1 }
    /^[0-9]+ seeds in / { good += $1; seen = 1 }
    /^[0-9]+ failures of / { good -= $1; bad += $1 }
    /^[0-9]+ of [0-9]+ planted bugs caught/ { good += $1; bad += $3 - $1; seen = 1 }
    END { print seen ? good + 0 : 1, bad + 0 }' "$1"
}

# step NAME COMMAND...
step() {
  local name=$1 start=$SECONDS log good bad code=0; shift
  [[ $name =~ $only || $name == setup ]] || return 0
  if (( list )); then echo "$name"; return 0; fi
  log=$logs/${name// /-}.log
  printf '%-34s ' "$name"
  "$@" >"$log" 2>&1 </dev/null || code=$?
  if (( code == 77 )); then  # a script that says it cannot run on this machine
    printf '%6d s   SKIPPED, nothing was tested: %s\n' $(( SECONDS - start )) "$(tail -n 1 "$log")"
    rows+=("$(printf '%-34s %6d s   SKIPPED' "$name" $(( SECONDS - start )))")
    return 0
  fi
  read -r good bad < <(count_results "$log")
  if (( code == 0 && bad == 0 )); then
    passed=$(( passed + good ))
    printf '%6d s   %d passed\n' $(( SECONDS - start )) "$good"
    rows+=("$(printf '%-34s %6d s   %d passed' "$name" $(( SECONDS - start )) "$good")")
  else
    (( bad > 0 )) || { bad=1; (( good > 0 )) && good=$(( good - 1 )); }
    passed=$(( passed + good )) failed=$(( failed + bad ))
    printf '%6d s   FAILED (exit code %d)\n\n' $(( SECONDS - start )) "$code"
    rows+=("$(printf '%-34s %6d s   FAILED' "$name" $(( SECONDS - start )))")
    echo "---- the end of $log"
    { grep -E -A 12 '^FAIL|^\[  FAILED|error:|Sanitizer|\*\*\*(Failed|Exception|Timeout)|invariant|: Failure$' "$log" | head -n 80; echo ...; tail -n 30 "$log"; }
    finish
  fi
}

configure() { cmake --preset "$1"; }
build() { configure "$1" && cmake --build --preset "$1" -j "$jobs" "${@:2}"; }
# A target that the tree may not have yet is left out; the rest must build.
targets_of() {
  local preset=$1 target; shift
  for target in "$@"; do ninja -C "build/$preset" -t query "$target" >/dev/null 2>&1 && echo "$target"; done
}
run_ctest() { ctest --test-dir "build/$1" -j "$jobs" --output-on-failure --timeout 900 --no-tests=error "${@:2}"; }

# Address randomisation beyond 28 bits confuses the thread sanitizer of this compiler.
without_aslr() { setarch "$(uname -m)" -R "$@"; }
tsan() {
  local targets
  configure tsan || return 1
  mapfile -t targets < <(targets_of tsan core_base_test runtime_test)
  without_aslr cmake --build --preset tsan -j "$jobs" --target "${targets[@]}" || return 1
  local target
  for target in "${targets[@]}"; do without_aslr "build/tsan/bin/$target" || return 1; done
}

fuzz_build() {
  local targets=() source
  configure fuzz || return 1
  for source in fuzz/*.cpp; do source=${source##*/}; targets+=("fuzz_${source%.cpp}"); done
  cmake --build --preset fuzz -j "$jobs" --target "${targets[@]}"
}
# Each target runs on its kept corpus first; what it finds new stays in the build directory.
fuzz_one() {
  local name=$1 found=build/fuzz/corpus/$1 kept=fuzz/corpus/$1
  mkdir -p "$found"
  [[ -d $kept ]] || kept=
  # shellcheck disable=SC2086
  "build/fuzz/bin/fuzz_$name" -max_total_time="${SD_FUZZ_SECONDS:-10}" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=1 \
    -artifact_prefix="build/fuzz/crash-$name-" "$found" $kept >"$logs/fuzz-$name.log" 2>&1
}
fuzz_run() {
  local source name names=() pids=() i good=0 bad=0
  for source in fuzz/*.cpp; do source=${source##*/}; names+=("${source%.cpp}"); done
  for (( i = 0; i < ${#names[@]}; i += jobs )); do
    pids=()
    for name in "${names[@]:i:jobs}"; do fuzz_one "$name" & pids+=("$!:$name"); done
    for name in "${pids[@]}"; do
      if wait "${name%%:*}"; then
        good=$(( good + 1 ))
        echo "ok    ${name#*:}: $(grep -o 'stat::number_of_executed_units:.*' "$logs/fuzz-${name#*:}.log")"
      else
        bad=$(( bad + 1 ))
        echo "FAIL  ${name#*:}"
        tail -n 40 "$logs/fuzz-${name#*:}.log"
      fi
    done
  done
  echo "$good passed, $bad failed"
  (( bad == 0 ))
}
export ASAN_SYMBOLIZER_PATH=/usr/lib/llvm-19/bin/llvm-symbolizer

sim=build/sim/bin/sheepsim
# The same seeds must give the same traces whatever compiler options built the program.
same_traces() {
  local one two
  one=$(build/sim/bin/sheepsim --check-determinism --seeds "$1") || { echo "$one"; return 1; }
  two=$(build/debug/bin/sheepsim --check-determinism --seeds "$1") || { echo "$two"; return 1; }
  echo "$one"
  diff <(echo "$one") <(echo "$two")
}
# Clang's program must run every seed as GCC's does: what is left open by the language, such as the order in which arguments
# are evaluated, must decide nothing.
compilers_agree() {
  local hashes=$logs/gcc-hashes.txt
  build sim --target sheepsim && build sim-clang --target sheepsim &&
    $sim --seeds "$1" --jobs "$jobs" --write-hashes "$hashes" &&
    build/sim-clang/bin/sheepsim --seeds "$1" --jobs "$jobs" --compare-hashes "$hashes"
}
# Runs that failed once, made small: each must pass now.
regressions() {
  local file good=0 bad=0
  for file in sim/regressions/*.txt; do
    [[ -e $file ]] || continue
    if $sim --replay "$file"; then good=$(( good + 1 )); else bad=$(( bad + 1 )); echo "FAIL  $file"; fi
  done
  echo "$good passed, $bad failed"
  (( bad == 0 ))
}

(( list )) || mkdir -p "$logs"
step setup scripts/setup.sh

step 'build release' build release
step 'unit tests release' run_ctest release
step 'test-io' scripts/test-io.sh
step 'test-failover' scripts/test-failover.sh
step 'test-recovery' scripts/test-recovery.sh
step 'test-chaos short' scripts/test-chaos.sh --short
step 'test-full' scripts/test-full.sh
step 'test-members' scripts/test-members.sh
step 'test-start' scripts/test-start.sh

step 'build sim' build sim --target sheepsim
step 'sim 2000 seeds, probes' $sim --probes --seeds 1..2000 --jobs "$jobs"
step 'sim regressions' regressions
step 'sim determinism' $sim --check-determinism --seeds 1..20
bugs=(--bugs --seeds 1..4000)
(( long )) || bugs+=(--common)
step 'sim planted bugs' $sim "${bugs[@]}" --jobs "$jobs"

(( long )) && step 'sim compilers agree' compilers_agree 1..400

step 'build debug' build debug
step 'unit tests debug' run_ctest debug
step 'sim debug' build/debug/bin/sheepsim --seeds 1..10 --jobs "$jobs"
step 'sim same traces' same_traces 1..5

step 'tsan' tsan
if compgen -G 'fuzz/*.cpp' >/dev/null; then
  step 'fuzz build' fuzz_build
  step 'fuzz run' fuzz_run
fi
(( list )) && exit 0
finish
