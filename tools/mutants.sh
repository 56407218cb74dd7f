#!/usr/bin/env bash
# mutants.sh [name...]: are the histories' checks awake?  Puts one fault at a time into the chaos
# build and wants tests/history to find each within SEEDS=40 seeds, by the check that it is for, and
# to make the program that shows it small.
set -uo pipefail
cd "$(dirname "$0")/.."

# name, file, programs, what the check says (no blanks), sed command
mutants='
lost      chan.c      channels lost:          /try_recv/,/^}/ s/^      buf_put(c, &s->elem);//
twice     chan.c      channels twice:         s/^  c->buf\[c->first\] = NIL_VALUE;/  { static int k; if (v->tag == V_INT \&\& ++k % 8 == 0) return; } &/
invented  chan.c      channels from.nowhere   /try_recv/,/^}/ s/^  if (c->closed) {/  if (c->closed) { static int k; if (++k % 8 == 0) { v->tag = V_INT; v->u.i = -k; return CHAN_OK; }/
overtaken chan.c      channels overtaken      s/^  \*v = c->buf\[c->first\];/  { Value *last = \&c->buf[(c->first + load_rlx(\&c->count) - 1) % c->cap]; *v = *last; *last = c->buf[c->first]; }/
roomy     chan.c      channels more.than|holds s/^  c->cap = cap;/  c->cap = cap + (cap == 2);/; s/calloc((size_t)cap,/calloc((size_t)c->cap,/
loose     chan.c      channels unbuffered|holds s/^  c->cap = cap;/  c->cap = cap > 0 ? cap : 1;/; s/(cap > 0 &&/(c->cap > 0 \&\&/; s/calloc((size_t)cap,/calloc((size_t)c->cap,/
open      chan.c      channels sent.after.close /try_send/,/^}/ s/^  if (c->closed) return CHAN_CLOSED;//
drained   chan.c      channels closed.while|lost /try_recv/,/^}/ s/^  if (load_rlx(&c->count) > 0) {/  if (load_rlx(\&c->count) > 0 \&\& !c->closed) {/
hasty     chan.c      channels not.closed.yet /try_recv/,/^}/ s/^  if (c->closed) {/  if (c->closed || c->cap == 5) {/
blind     chan.c      channels found.nothing  s/^  r = send ? try_send(c, v, &ready) : try_recv/  r = send ? try_send(c, v, \&ready) : !block \&\& load_rlx(\&c->count) == 1 ? CHAN_BUSY : try_recv/
full      chan.c      channels found.no.room|has.room s/load_rlx(&c->count) < c->cap)/load_rlx(\&c->count) < c->cap - (c->cap > 1))/
refill    chan.c      channels sender.sleeps  /try_recv/,/^}/ s/^    s = waitq_pop(&c->sendq); .*/    s = NULL;/
shut      chan.c      channels not.woken|blocked.on.closed s/^    wake_all(&c->sendq, ready);//
shutr     chan.c      channels not.woken|blocked.on.closed s/^    wake_all(&c->recvq, ready);//
greedy    select.c    channels lost:|twice:|nowhere s/^    if (r != CHAN_BUSY) {/    if (r != CHAN_BUSY \&\& !(r == CHAN_OK \&\& !k->send \&\& i + 1 < n)) {/
stale     select.c    channels .               s/^      chan_leave_locked(c, s);//
notified  proc.c      channels .               s/^  if (cas_acqrel(&g->status, &s, G_NOTIFIED))/  if (load_rlx(\&g->status) == G_PARKING)/
barger    mutex.c     sync     Mutex:          s/^    got = !(w & MUTEX_LOCKED);/    got = !(w \& MUTEX_LOCKED) || woken;/
sleepers  mutex.c     sync     Mutex:.a.wake-up s/^  if (g != NULL) sched_ready(m, g, true);/  if (g != NULL \&\& m->tick % 8) sched_ready(m, g, true);/
sharing   rwmutex.c   sync     RWMutex:.not    s/^  if (write) return w == 0 ? RW_WRITER : 0;/  if (write) return w \& RW_WRITER ? 0 : w | RW_WRITER;/
readers   rwmutex.c   sync     RWMutex:.a.wake-up s|^    n = take_readers(rw, &ready);  .*|    n = 0;|
surplus   sync.c      sync     Semaphore:.not  s/k <= sem->size - sem->held;/k <= sem->size - sem->held + 1;/
early     waitgroup.c sync     WaitGroup:.not  s/^  if (w->n == 0)$/  if (w->n <= 1)/
onlyone   waitgroup.c sync     WaitGroup:.a.wake-up s/^    while ((s = waitq_pop(&w->waiters)) != NULL) {/    if ((s = waitq_pop(\&w->waiters)) != NULL) {/
halfway   smap.c      sync     Map:.not        s/^  else if (e != NULL && e->owner != NULL && !(op->kind/  else if (e != NULL \&\& e->owner != NULL \&\& g == NULL \&\& !(op->kind/
deaf      smap.c      sync     Map:.a.wake-up  /^void smap_release/,/^}/ s/^  if (next != NULL) sched_ready(m, next, false);//
'

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
make --no-print-directory build/chaos/goro/core.so > "$dir/make" 2>&1 || { cat "$dir/make"; exit 1; }

# One mutant: its name, file, programs, check, sed command.
try () {
  local name=$1 file=$2 kind=$3 want=$4 command=$5 at=$dir/$1 seed verdict=
  mkdir -p "$at/goro"
  sed "$command" "src/$file" > "$at/$file"
  if cmp -s "src/$file" "$at/$file"; then
    echo "$name: the mutation does not apply"
    return 1
  fi
  # shellcheck disable=SC2046
  ${CC:-cc} -std=gnu11 -O1 -w -fPIC -pthread -DGORO_DEBUG -DGORO_CHAOS -DGORO_FAULTS \
    -include src/fault.h -iquote src $(pkg-config --cflags lua5.4) -c -o "$at/mutant.o" "$at/$file" &&
    ${CC:-cc} -shared -pthread -o "$at/goro/core.so" "$at/mutant.o" \
      $(ls src/*.c | grep -vxF "src/$file" | sed 's|src/\(.*\)c$|build/obj/chaos/\1o|') || return 1
  for seed in $(seq 1 "${SEEDS:-40}"); do
    LUA_CPATH="$at/?.so" LUA_PATH="lua/?.lua;lua/?/init.lua;;" GOROCHAOS=$seed \
      GOROMAXPROCS=$((seed % 3 + 1)) timeout -s KILL 60 "${LUA:-lua5.4}" tests/history/run.lua 1 \
      "$seed" "$kind" > "$at/log" 2>&1 && continue
    verdict=$({ grep -m1 '^program' "$at/log" || grep -m1 -E 'fatal|panicked' "$at/log"; } |
      sed 's/^program[^:]*: //' | head -c 70)
    if [[ ${verdict:-killed} =~ $want ]]; then
      echo "$name: seed $seed: ${verdict:-killed}; $(grep -m1 -oE '^small \([^)]*\)' "$at/log")"
      return 0
    fi
  done
  echo "$name: NOT FOUND${verdict:+ by its check: $verdict}"
  return 1
}
export -f try
export dir

status=0
while read -r name file kind want command; do
  if [ -z "$name" ] || { [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; }; then continue; fi
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || status=1; done
  try "$name" "$file" "$kind" "$want" "$command" 2> /dev/null &
done <<< "$mutants"
while [ -n "$(jobs -p)" ]; do wait -n || { [ $? = 127 ] && break; status=1; }; done
exit $status
