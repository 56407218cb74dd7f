#!/usr/bin/env bash
# chaos.sh [seeds [first [each]]]: tests/chaos/main.lua in the chaos build, once for each seed, on 1, 2
# or 3 P's; for each EACH-th (50) seed one of the specs named in CHAOS_SPECS, too, as a whole.
# Prints how to repeat what failed; stops after ten of them.
set -uo pipefail
cd "$(dirname "$0")/.."

seeds=${1:-500} first=${2:-1} each=${3:-50}
jobs=$(nproc)
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
export log each GOROBUILD=chaos CHAOS_SPECS=${CHAOS_SPECS:-}

run () {                                          # what seed procs limit command...
  local what=$1 seed=$2 procs=$3 limit=$4 out=$log/out.$$
  shift 4
  GOROCHAOS=$seed GOROMAXPROCS=$procs timeout -s QUIT -k 5 "$limit" "$@" > "$out" 2>&1 && return
  { echo "== failed: GOROBUILD=chaos GOROCHAOS=$seed GOROMAXPROCS=$procs $*"
    if [ "$what" = spec ]; then tail -c 4000 "$out"; else head -c 4000 "$out"; fi
  } > "$log/failed.$what.$seed"
}

one () {                                          # one seed...
  local seed procs specs
  read -ra specs <<< "$CHAOS_SPECS"
  for seed in "$@"; do
    [ "$(find "$log" -name 'failed.*' | wc -l)" -lt 10 ] || exit 255
    procs=$((seed % 3 + 1))
    run program "$seed" "$procs" 60 tools/lua tests/chaos/main.lua
    if [ ${#specs[@]} -gt 0 ] && [ $((seed % each)) = 0 ]; then
      run spec "$seed" "$procs" 300 tools/lua tools/busted.lua --ignore-lua \
        --exclude-tags=lifecycle,valgrind,nochaos "spec/${specs[seed / each % ${#specs[@]}]}_spec.lua"
      echo x >> "$log/specs"
    fi
  done
}
export -f one run

start=$SECONDS
touch "$log/specs"
seq "$first" $((first + seeds - 1)) | xargs -P "$jobs" -n 50 bash -c 'one "$@"' one 2>/dev/null
failed=$(find "$log" -name 'failed.*' | wc -l)
cat "$log"/failed.* 2>/dev/null
echo "chaos: seeds $first to $((first + seeds - 1)), with $(wc -l < "$log/specs") specs," \
  "$((SECONDS - start)) s, $failed failed"
[ "$failed" -eq 0 ]
