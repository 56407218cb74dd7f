#!/usr/bin/env bash
# specs.sh "1 2 8" command...: runs it with each of these GOROMAXPROCS.  Where there are two CPUs
# another one runs beside the one that is shown; its output follows when both have ended.
set -uo pipefail

read -ra procs <<< "$1"
shift
other=$(mktemp)
beside=
trap 'rm -f "$other"; [ -z "$beside" ] || kill "$beside" 2> /dev/null' EXIT
status=0

while [ ${#procs[@]} -gt 0 ]; do
  if [ ${#procs[@]} -gt 1 ] && [ "$(nproc)" -gt 1 ]; then
    GOROMAXPROCS=${procs[1]} "$@" > "$other" 2>&1 &
    beside=$!
  fi
  echo "== specs, GOROMAXPROCS=${procs[0]}"
  GOROMAXPROCS=${procs[0]} "$@" || status=1
  procs=("${procs[@]:1}")
  if [ -n "$beside" ]; then
    wait "$beside" || status=1
    beside=
    echo "== specs, GOROMAXPROCS=${procs[0]}"
    cat "$other"
    procs=("${procs[@]:1}")
  fi
done
exit $status
