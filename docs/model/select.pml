/*
** select.pml - waiting for one of several channels: src/select.c, waitq_pop in src/waitq.h.
**
** Two channels without buffer.  Of the NG goroutines, which do ROUNDS operations each, the first two
** select, with their cases in opposite orders, the third sends, the fourth sends or receives; waits
** of the first two may time out.  What park.pml shows is taken for
** granted here: a goroutine sleeps until it is readied.  A channel's lock is a lock: steps under it
** are separate, so that orders of locking matter.
**
** Checked: nobody is readied twice in one wait; no stale entry of an earlier wait is ever claimed;
** values sent are values received; the locks cannot deadlock; when all is quiet no two wait for
** each other.  Mutants, which must fail: NO_CLAIM, NO_DEQUEUE, UNORDERED (locks taken in the cases'
** order), EARLY (the locks are released between looking and enqueueing).
*/
#ifndef NG
#define NG 4
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#define NC 2
#define NOBODY 255

#define AT(g, c) ((g) * NC + (c))
bit inS[NG * NC], inR[NG * NC];        /* g stands in c's queue of senders, receivers */
byte since[NG * NC];                   /* ... since which wait of g */
bit lock[NC];
bit claim[NG];
bit ready[NG];                         /* sched_ready was called */
byte wait[NG];                         /* number of g's wait */
byte fired[NG] = NOBODY;               /* which channel, NC: the time-out */
bit can_time_out[NG];
byte sent[NC], received[NC];

inline acquire (c) { atomic { !lock[c] -> lock[c] = 1; } }
inline release (c) { lock[c] = 0; }

#define IN(s, g, c) ((s) -> inS[AT(g, c)] : inR[AT(g, c)])

/* Take the first whose wait can be claimed off c's queue (s: of senders); c's lock is held. */
inline waitq_pop (s, c, self, w) {
  w = NOBODY;
  k = 0;
  do
  :: k < NG && w == NOBODY ->
     if
     :: atomic {                       /* the queue is ours, the claim is anybody's */
          k != self && IN(s, k, c) ->
          if :: s -> inS[AT(k, c)] = 0 :: else -> inR[AT(k, c)] = 0 fi;
        }
        if
#ifdef NO_CLAIM
        :: true ->
#else
        :: atomic { claim[k] == 1 -> claim[k] = 0; }
#endif
           assert(since[AT(k, c)] == wait[k]);     /* of the wait it was meant for */
           fired[k] = c;
           w = k;
#ifndef NO_CLAIM
        :: claim[k] == 0
#endif
        fi;
     :: k == self || !IN(s, k, c)
     fi;
     k++;
  :: else -> k = 0; break;
  od;
}

/* One case: c < NC, s: send.  w: who is to be readied; NOBODY: not ready.  c's lock is held. */
inline look (c, s) {
  if
  :: s ->
     waitq_pop(0, c, g, w);
     if :: w != NOBODY -> sent[c]++; received[c]++; :: else fi;
  :: else ->
     waitq_pop(1, c, g, w);
     if :: w != NOBODY -> sent[c]++; received[c]++; :: else fi;
  fi;
}

inline push (c, s) {
  since[AT(g, c)] = wait[g];
  if
  :: s -> inS[AT(g, c)] = 1;
  :: else -> inR[AT(g, c)] = 1;
  fi;
}

/* Leave the queue of a case that did not fire. */
inline leave (c, s) {
  if
  :: fired[g] != c ->
     acquire(c);
     inS[AT(g, c)] = 0;
     inR[AT(g, c)] = 0;
     release(c);
  :: else
  fi;
}

inline sched_ready (w) {
  atomic { assert(!ready[w]); ready[w] = 1; }
}

proctype goroutine (byte g) {
  byte w, k, round, first, a, b;
  bit sa, sb;
  do
  :: round < ROUNDS ->
     round++;
     /* cases: (a, sa) and, if b < NC, (b, sb) */
     atomic {
       sa = 0; sb = 0; b = NC;
       if
       :: g == 0 && round == 2 -> a = 0;
       :: g == 0 -> a = 0; b = 1; if :: sa = 1 :: sb = 1 :: true fi;
       :: g == 1 -> a = 1; b = 0; if :: sa = 1 :: sb = 1 :: true fi;
       :: g == 2 -> sa = 1; if :: a = 0 :: a = 1 fi;
       :: g == 3 -> a = 0; if :: sa = 1 :: true fi;
       fi;
     }
     w = NOBODY;
#ifdef UNORDERED
     acquire(a);
     if :: b < NC -> acquire(b) :: else fi;
#else
     if
     :: b < a -> acquire(b); acquire(a);
     :: b > a && b < NC -> acquire(a); acquire(b);
     :: b == NC -> acquire(a);
     fi;
#endif
     look(a, sa);
     if
     :: w == NOBODY && b < NC -> look(b, sb);
     :: else
     fi;
#ifdef EARLY
     release(a);
     if :: b < NC -> release(b) :: else fi;
     if
     :: b < a -> acquire(b); acquire(a);
     :: b > a && b < NC -> acquire(a); acquire(b);
     :: b == NC -> acquire(a);
     fi;
#endif
     if
     :: w == NOBODY ->                 /* park_begin, enqueue */
        atomic { wait[g]++; fired[g] = NOBODY; ready[g] = 0; claim[g] = 1; push(a, sa); }
        if :: b < NC -> atomic { push(b, sb); } :: else fi;
        release(a);
        if :: b < NC -> release(b) :: else fi;
        if :: g < 2 -> can_time_out[g] = 1 :: true fi;
end_parked:
        ready[g];                      /* until it is readied */
        can_time_out[g] = 0;
#ifndef NO_DEQUEUE
        leave(a, sa);
        if :: b < NC -> leave(b, sb) :: else fi;
#endif
     :: else ->
        release(a);
        if :: b < NC -> release(b) :: else fi;
        sched_ready(w);
     fi;
  :: else -> break;
  od;
}

proctype timer () {                    /* one goroutine's wait is ended by time */
  byte t;
end:
  do
  :: atomic {
       if
       :: can_time_out[0] && claim[0] -> t = 0;
       :: can_time_out[1] && claim[1] -> t = 1;
       fi;
       can_time_out[t] = 0;
     }
     if
     :: atomic { claim[t] == 1 -> claim[t] = 0; fired[t] = NC; }
        sched_ready(t);
     :: claim[t] == 0
     fi;
  od;
}

proctype monitor () {
  byte i, j, c;
  timeout ->
  d_step {
    c = 0;
    do
    :: c < NC ->
       assert(!lock[c]);
       assert(sent[c] == received[c]);
       i = 0;
       do
       :: i < NG ->
          j = 0;
          do
          :: j < NG ->
             assert(!(i != j && claim[i] && claim[j] && inS[AT(i, c)] && inR[AT(j, c)]));
             j++;
          :: else -> break;
          od;
          assert(!ready[i] || !claim[i]);
          i++;
       :: else -> break;
       od;
       c++;
    :: else -> break;
    od;
  }
}

init {
  byte i;
  atomic {
    for (i : 0 .. NG - 1) { run goroutine(i); }
    run timer();
    run monitor();
  }
}
