#!/usr/bin/env bash
# model.sh: checks docs/model/*.pml with spin, and that spin refuses their mutants.
set -uo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
status=0

# check right|wrong model -Dflags...  What is wrong shows itself soonest where the processes that were
# started last go first.
check () {
  local want=$1 model=$2 verdict states how=-O1
  shift 2
  if [ "$want" = wrong ]; then how='-O0 -DREVERSE'; fi
  (cd "$dir" && rm -f pan && spin -a "$@" "$OLDPWD/docs/model/$model.pml" > spin.log 2>&1 &&
    ${CC:-cc} -w $how -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM=3000 -o pan pan.c) ||
    { cat "$dir/spin.log"; echo "$model: no verifier"; status=1; return; }
  (cd "$dir" && ./pan -m200000 -n > pan.log 2>&1)
  states=$(awk '/states, stored/ { print $1 } /elapsed time/ { print "states,", $4, "s" }' "$dir/pan.log" | tr '\n' ' ')
  if grep -q 'errors: 0$' "$dir/pan.log" && ! grep -q 'max search depth too small\|out of memory' "$dir/pan.log"
  then verdict=right
  elif grep -q 'errors: 1$' "$dir/pan.log"; then verdict=wrong
  else verdict="not decided"
  fi
  echo "model $model $*: $verdict ($states)"
  if [ "$verdict" != "$want" ]; then
    tail -n 20 "$dir/pan.log"
    echo "model $model $*: should be $want"
    status=1
  fi
}

check right park -DROUNDS=1
check right park -DNG=2 -DROUNDS=3
for mutant in NO_NOTIFIED NO_COMMIT NO_CLAIM; do check wrong park -DROUNDS=1 -D$mutant; done
check right select
check right select -DNG=2 -DROUNDS=3
check wrong select -DNG=2 -DROUNDS=2 -DNO_DEQUEUE
for mutant in NO_CLAIM UNORDERED EARLY; do check wrong select -DNG=3 -D$mutant; done
check right workers
for mutant in NO_FENCE NO_RECHECK NO_LAST; do check wrong workers -D$mutant; done
check right guests
for mutant in NO_XCHG NO_LOOK NO_SIGNAL LATE_MAY; do check wrong guests -D$mutant; done
exit $status
