#!/usr/bin/env bash
# run.sh [name...]: each module in N=1000 goroutines at once (tests/compat/run.lua), on 1 and on 8
# P's, with images as usual, made for every start, and off.  Fails if one that docs/compatibility.md
# calls safe does not pass.
set -uo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || mapfile -t names < <(tools/lua tests/compat/run.lua)
[ $# -eq 0 ] || names=("$@")
status=0
ulimit -n 20000 2>/dev/null || true
for name in "${names[@]}"; do
  result=
  for way in "" always 0; do
    for procs in 1 8; do
      out=$(GOROIMAGE=$way GOROMAXPROCS=$procs timeout -k 5 120 \
        tools/lua tests/compat/run.lua "$name" "${N:-1000}" 2>&1)
      code=$?
      if [ $code = 3 ]; then result="not installed"; break 2; fi
      if [ $code != 0 ]; then
        result="FAILED, GOROIMAGE=$way on $procs (status $code): $(tail -n 8 <<< "$out" | head -c 600)"
        grep -q "^| \`$name\` | no " docs/compatibility.md 2>/dev/null || status=1
        break 2
      fi
      result=${result:-$out}                         # as usual: what became of its image
    done
  done
  echo "$name: $result"
done
exit $status
