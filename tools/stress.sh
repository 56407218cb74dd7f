#!/usr/bin/env bash
# stress.sh times command...: runs the command again and again, alternately with the release
# and the debug build, on 1, 2, 3, 4 and 8 processors, with a new seed each time.  Stops at the
# first failure and prints how to repeat it.
set -uo pipefail

times=$1
shift
procs=(1 2 3 4 8)
builds=(release debug)
for ((i = 0; i < times; i++)); do
  build=${builds[i % 2]}
  n=${procs[i % 5]}
  seed=${GOROSEED:-$((RANDOM * 32768 + RANDOM))}
  vars=(GOROBUILD="$build" GOROMAXPROCS="$n" GOROSEED="$seed")
  echo "== stress $((i + 1))/$times: ${vars[*]}"
  if ! env "${vars[@]}" "$@"; then
    echo "stress: failed; again with: ${vars[*]} $*"
    exit 1
  fi
done
