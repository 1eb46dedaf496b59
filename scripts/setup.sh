#!/usr/bin/env bash
# Installs every package that building, running and testing need, on Debian 12. Safe to run again: when nothing is missing it
# returns at once and touches neither network nor package database.
#
#   scripts/setup.sh           install what is missing (as root, or with sudo)
#   scripts/setup.sh --check   only say what is missing; exit 1 if anything is
#   scripts/setup.sh --vm      also what scripts/test-vm.sh needs, to run a virtual machine
set -euo pipefail

packages=(
  # the compilers and what drives them: g++ builds, clang fuzzes
  g++-12 clang-19 clang-format-19 libclang-rt-19-dev llvm-19 cmake ninja-build pkg-config mold ccache git ca-certificates
  # libraries of the programs
  libboost1.81-dev liburing-dev libisal-dev libxxhash-dev libcli11-dev libspdlog-dev libfmt-dev nlohmann-json3-dev
  # libraries of the tests
  libgtest-dev libgmock-dev librapidcheck-dev
  # real clients to test with, servers to compare with, and what the scripts call
  qemu-utils fio libnbd-bin python3 python3-libnbd nbdkit e2fsprogs iproute2 iptables procps util-linux
)

case "${1-}" in
  '' | --check) ;;
  --vm) packages+=(qemu-system-x86 seabios busybox-static cpio) ;;
  -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  *) echo "setup.sh: unknown option '$1' (there are --check and --vm)" >&2; exit 64 ;;
esac

if ! command -v dpkg-query >/dev/null; then
  echo "setup.sh: this is not a Debian system. Install the equivalents of: ${packages[*]}" >&2
  exit 2
fi

installed=$(dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n' | awk '$2 == "ii" { print $1 }')
missing=()
for package in "${packages[@]}"; do
  grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
done

if (( ${#missing[@]} == 0 )); then
  echo "setup: all ${#packages[@]} packages are installed"
  exit 0
fi
if [[ ${1-} == --check ]]; then
  echo "setup: missing: ${missing[*]}"
  exit 1
fi

# shellcheck disable=SC1091
if [[ "$(. /etc/os-release 2>/dev/null && echo "${ID-} ${VERSION_ID-}")" != "debian 12" ]]; then
  echo "setup: warning: made for Debian 12; package names may differ here" >&2
fi

as_root=()
if (( EUID != 0 )); then
  if ! command -v sudo >/dev/null; then
    echo "setup: needs root to install packages. As root, run: apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 2
  fi
  as_root=(sudo)
fi

echo "setup: installing ${#missing[@]} packages: ${missing[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
"${apt[@]}" update </dev/null
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null
echo "setup: done"
