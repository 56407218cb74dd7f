#!/usr/bin/env bash
# sanitize.sh asan|tsan|valgrind command...: runs the command with GOROBUILD set and the tool's
# reports going to build/<tool>/log.*; fails if the command fails or anything was reported.
set -euo pipefail

kind=$1
shift
root=$(cd "$(dirname "$0")/.." && pwd)
log=$root/build/$kind/log
rm -f "$log".*
mkdir -p "$(dirname "$log")"
export GOROBUILD=$kind

case $kind in
  asan)
    common="log_path=$log:exitcode=66:halt_on_error=1:detect_leaks=1:handle_sigill=1"
    export ASAN_OPTIONS="$common${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
    ;;
  tsan)
    common="log_path=$log:exitcode=66:halt_on_error=0:second_deadlock_stack=1"
    export TSAN_OPTIONS="$common${TSAN_OPTIONS:+:$TSAN_OPTIONS}"
    # ThreadSanitizer wants its address ranges free, which strong randomisation may not grant
    if setarch -R true 2>/dev/null; then set -- setarch -R "$@"; fi
    ;;
  valgrind) ;;                                 # its options are in the shim
  *)
    echo "sanitize.sh: unknown tool '$kind'" >&2
    exit 2
    ;;
esac

status=0
"$@" || status=$?

shopt -s nullglob
reports=0
for file in "$log".*; do
  # (valgrind's notes on what it does not know itself, as pidfd_open: "--123-- WARNING: ...")
  grep -qvE '^--[0-9]+-- ' "$file" || continue
  reports=$((reports + 1))
  if [ "$reports" -le 10 ]; then
    echo "== $file"
    head -n 200 "$file"
  fi
done
if [ "$reports" -gt 0 ]; then
  echo "$kind: $reports process(es) with reports, in $log.*"
  exit 66
fi
exit "$status"
