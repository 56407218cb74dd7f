#!/usr/bin/env bash
# mutants.sh [name]: are the histories' checks awake?  Builds goro with one fault at a time and
# wants tests/history to find each within seconds.
set -uo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# name, file, sed command
mutants='
refill   chan.c    s/^    s = waitq_pop(&c->sendq); .*/    s = NULL;/
lifo     chan.c    s/  \*v = c->buf\[c->first\];/  *v = c->buf[(c->first + load_rlx(\&c->count) - 1) % c->cap];/
roomy    chan.c    s/load_rlx(&c->count) < c->cap/load_rlx(\&c->count) < c->cap + (c->cap > 1)/
shut     chan.c    s/^    wake_all(&c->sendq, &ready);//
drained  chan.c    s/^  if (load_rlx(&c->count) > 0) {/  if (load_rlx(\&c->count) > 0 \&\& !c->closed) {/
readers  rwmutex.c s|^    n = take_readers(rw, &ready);  .*|    n = 0;|
sleepers mutex.c   s/^  if (g != NULL) sched_ready(m, g, true);/  if (g != NULL \&\& m->tick % 8) sched_ready(m, g, true);/
notified proc.c    s/^  if (cas_acqrel(&g->status, &s, G_NOTIFIED))/  if (load_rlx(\&g->status) == G_PARKING)/
'
status=0
while read -r name file command; do
  [ -n "$name" ] && { [ $# = 0 ] || [ "$1" = "$name" ]; } || continue
  rm -rf "$dir/src" "$dir/goro"
  mkdir -p "$dir/goro"
  cp -r src "$dir/src"
  sed -i "$command" "$dir/src/$file"
  if cmp -s "src/$file" "$dir/src/$file"; then
    echo "$name: the mutation does not apply"
    status=1
    continue
  fi
  # shellcheck disable=SC2046
  ${CC:-cc} -std=gnu11 -O1 -w -fPIC -shared -pthread -DGORO_DEBUG -DGORO_CHAOS -iquote "$dir/src" \
    $(pkg-config --cflags lua5.4) -o "$dir/goro/core.so" "$dir"/src/*.c
  found=
  for seed in $(seq 1 "${SEEDS:-40}"); do
    if ! LUA_CPATH="$dir/?.so" LUA_PATH="lua/?.lua;lua/?/init.lua;;" GOROCHAOS=$seed \
         GOROMAXPROCS=$((seed % 3 + 1)) timeout 20 "${LUA:-lua5.4}" tests/history/run.lua 1 "$seed" \
         > "$dir/log" 2>&1; then
      found=$seed
      break
    fi
  done
  if [ -n "$found" ]; then
    echo "$name: found ($(grep -m1 -E '^program|^small|fatal|check failed' "$dir/log" | head -c 100))"
  else
    echo "$name: NOT FOUND"
    status=1
  fi
done <<< "$mutants"
exit $status
