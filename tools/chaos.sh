#!/usr/bin/env bash
# chaos.sh [seeds [first]]: tests/chaos/main.lua in the chaos build, once for each seed, on 1, 2
# or 3 P's.  Prints how to repeat what failed; stops after ten of them.
set -uo pipefail
cd "$(dirname "$0")/.."

seeds=${1:-500} first=${2:-1}
jobs=$(nproc)
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
export log GOROBUILD=chaos

one () {                                          # one seed...
  local seed procs out
  for seed in "$@"; do
    [ "$(find "$log" -name 'failed.*' | wc -l)" -lt 10 ] || exit 255
    procs=$((seed % 3 + 1))
    out=$log/out.$$
    if ! GOROCHAOS=$seed GOROMAXPROCS=$procs timeout -s QUIT -k 5 60 \
         tools/lua tests/chaos/main.lua > "$out" 2>&1; then
      { echo "== failed: GOROCHAOS=$seed GOROMAXPROCS=$procs GOROBUILD=chaos tools/lua tests/chaos/main.lua"
        head -c 4000 "$out"; } > "$log/failed.$seed"
    fi
  done
}
export -f one

start=$SECONDS
seq "$first" $((first + seeds - 1)) | xargs -P "$jobs" -n 50 bash -c 'one "$@"' one 2>/dev/null
failed=$(find "$log" -name 'failed.*' | wc -l)
cat "$log"/failed.* 2>/dev/null
echo "chaos: seeds $first to $((first + seeds - 1)), $((SECONDS - start)) s, $failed failed"
[ "$failed" -eq 0 ]
