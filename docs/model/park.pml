/*
** park.pml - how a goroutine parks and is readied: src/park.c, ready_one in src/proc.c.
**
** NM workers take goroutines from a run queue.  A goroutine meets others at an object (a channel
** without buffer, say): it takes a waiter off the queue and readies it, or waits itself, with a
** time-out or without.  Statuses and the steps' names are those of the code; each access to a
** shared word is a step of its own, the object's and the timers' locks make several one.
**
** Checked: a lua_State is on one stack at a time, a goroutine in one run queue at a time (P1), no
** wait ends twice, and when all is quiet nobody sleeps who was woken, and no two wait for each
** other.  Mutants, which must fail: NO_NOTIFIED, NO_COMMIT, NO_CLAIM.
*/
#ifndef NG
#define NG 4
#endif
#ifndef NM
#define NM 3
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif

mtype = { RUNNABLE, RUNNING, PARKING, NOTIFIED, PARKED, DEAD };

mtype status[NG] = RUNNABLE;
bit claim[NG];           /* g->claim */
bit inq[NG] = 1;         /* in a run queue */
bit waits[NG];           /* stands in the object's queue */
bit armed[NG];           /* its timer is set */
bit waiting[NG];         /* inside a wait: the next slice begins with its end */
byte onstack[NG];        /* stacks its lua_State is on */
byte woken[NG];          /* sched_ready calls in this wait */
byte left[NG] = ROUNDS;
bit busy[NM];            /* workers */

#if NG > 2
#define INQ2 inq[2]
#else
#define INQ2 0
#endif
#if NG > 3
#define INQ3 inq[3]
#else
#define INQ3 0
#endif

inline wait_claim (g, ok) {
#ifdef NO_CLAIM
  ok = 1;
#else
  atomic { ok = claim[g]; claim[g] = 0; }
#endif
}

/* ready_one */
inline sched_ready (g) {
  woken[g]++;
  assert(woken[g] == 1);
#ifdef NO_NOTIFIED
  if
  :: atomic { (status[g] == PARKING || status[g] == PARKED) -> status[g] = RUNNABLE; }
  fi;
  runq_put(g);
#else
  if
  :: atomic { status[g] == PARKING -> status[g] = NOTIFIED; }
  :: atomic { status[g] != PARKING -> assert(status[g] == PARKED); status[g] = RUNNABLE; }
     runq_put(g);
  fi;
#endif
}

inline runq_put (g) {
  atomic { assert(inq[g] == 0); inq[g] = 1; }
}

/* The worker's half, once lua_resume has returned. */
inline park_commit (g) {
#ifdef NO_COMMIT
  status[g] = PARKED;
#else
  if
  :: atomic { status[g] == PARKING -> status[g] = PARKED; }
  :: atomic { status[g] != PARKING -> assert(status[g] == NOTIFIED); status[g] = RUNNABLE; }
     runq_put(g);
  fi;
#endif
}

proctype worker (byte m) {
  byte g, w;
  bit ok;
end:
  do
  :: atomic {
       /* they are alike: of those without work the first takes it */
       (m == 0 || busy[0]) && (m < 2 || busy[1]) && (inq[0] || inq[1] || INQ2 || INQ3);
       if
       :: inq[0] -> g = 0;
       :: inq[1] -> g = 1;
#if NG > 2
       :: inq[2] -> g = 2;
#endif
#if NG > 3
       :: inq[3] -> g = 3;
#endif
       fi;
       inq[g] = 0;
       assert(status[g] == RUNNABLE);
       assert(onstack[g] == 0);
       onstack[g] = 1;
       busy[m] = 1;
       status[g] = RUNNING;
     }
     if                                /* the end of its wait: leave the queue, stop the timer */
     :: waiting[g] ->
        waits[g] = 0;
        atomic { armed[g] = 0; waiting[g] = 0; woken[g] = 0; assert(claim[g] == 0); }
     :: else
     fi;
     do
     :: atomic { left[g] == 0 -> status[g] = DEAD; onstack[g] = 0; }
        break;
     :: atomic {
          left[g] > 0 -> left[g]--;    /* the object's lock: waitq_pop, or park_begin and push */
          w = NG;
          ok = 0;
          do
          :: !ok && waits[0] && g != 0 -> waits[0] = 0; wait_claim(0, ok); w = 0;
          :: !ok && waits[1] && g != 1 -> waits[1] = 0; wait_claim(1, ok); w = 1;
#if NG > 2
          :: !ok && waits[2] && g != 2 -> waits[2] = 0; wait_claim(2, ok); w = 2;
#endif
#if NG > 3
          :: !ok && waits[3] && g != 3 -> waits[3] = 0; wait_claim(3, ok); w = 3;
#endif
          :: else -> break;
          od;
          if
          :: ok
          :: !ok ->
             status[g] = PARKING;
             claim[g] = 1;
             waiting[g] = 1;
             waits[g] = 1;
          fi;
        }
        if
        :: ok -> sched_ready(w); w = 0; ok = 0;
        :: !ok ->
           if                          /* wait_arm, or wait without limit */
           :: g > 0 && g < 3 -> armed[g] = 1;
           :: true
           fi;
           onstack[g] = 0;             /* lua_resume returns */
           park_commit(g);
           break;
        fi;
     od;
     atomic { g = 0; w = 0; ok = 0; busy[m] = 0; }
  od;
}

proctype timer () {
  byte t;
  bit ok;
end:
  do
  :: atomic {                          /* the shard's lock: timers_expire, timeout_fire */
       if
       :: armed[1] -> t = 1;
#if NG > 2
       :: armed[2] -> t = 2;
#endif
       fi;
       armed[t] = 0;
       wait_claim(t, ok);
     }
     if
     :: ok -> sched_ready(t);
     :: else
     fi;
     t = 0;
     ok = 0;
  od;
}

/* When nothing moves any more. */
proctype monitor () {
  byte g, sleepers;
  timeout ->
  d_step {
    g = 0;
    do
    :: g < NG ->
       if
       :: status[g] == DEAD
       :: else ->
          assert(status[g] == PARKED && claim[g] && waits[g] && !armed[g] && woken[g] == 0);
          sleepers++;
       fi;
       g++;
    :: else -> break;
    od;
    assert(sleepers <= 1);
  }
}

init {
  byte i;
  atomic {
    for (i : 0 .. NM - 1) { run worker(i); }
    run timer();
    run monitor();
  }
}
