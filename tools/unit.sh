#!/usr/bin/env bash
# unit.sh seconds program...: runs C tests, each at most that long.  A test passes if it exits
# with 0.  Ends with a summary line in busted's form.
set -uo pipefail

limit=$1
shift
passed=0 failed=0
for program in "$@"; do
  if timeout --foreground -k 10 "$limit" "$program"; then
    passed=$((passed + 1))
    echo "ok      $program"
  else
    echo "FAILED  $program (status $?)"
    failed=$((failed + 1))
  fi
done
echo "$passed successes / $failed failures / 0 errors / 0 pending : C tests"
[ "$failed" -eq 0 ]
