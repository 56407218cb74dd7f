#!/usr/bin/env bash
# What preemption costs while nobody waits: instructions of each work in bench/preempt.lua, with
# it and without (GOROPREEMPT=0), counted by callgrind; the least of RUNS=3 runs.  Fails if one
# needs more than 2% more.  Usage: bench/preempt.sh [work...]
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${RUNS:-3}
works=${*:-compute calls tables coroutines channel spawn}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export GOROMAXPROCS=1

count () {                                     # count work 0|1
  local i n least=
  for ((i = 0; i < runs; i++)); do
    GOROPREEMPT=$2 LUA="valgrind" tools/lua --tool=callgrind -q --callgrind-out-file="$dir/out" \
      lua5.4 bench/preempt.lua "$1" > "$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
    n=$(awk '/^(summary|totals):/ { n = $2 } END { print n }' "$dir/out")
    if [ -z "$least" ] || [ "$n" -lt "$least" ]; then least=$n; fi
  done
  echo "$least"
}

status=0
printf '%-12s %15s %15s\n' work with without
for work in $works; do
  with=$(count "$work" 1) without=$(count "$work" 0)
  awk -v name="$work" -v a="$with" -v b="$without" 'BEGIN {
    r = (a / b - 1) * 100
    printf "%-12s %15d %15d  %+.2f%%\n", name, a, b, r
    exit r > 2
  }' || status=1
done
exit $status
