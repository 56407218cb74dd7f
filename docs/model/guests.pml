/*
** guests.pml - how a main script that waits is woken while its thread runs guests: src/guest.c,
** park_here in src/park.c, ready_bound in src/proc.c, the signal's handler in src/run.c.
**
** The main script waits ROUNDS times.  While it does its thread runs the guest, in slices: the guest
** computes for ever, waits, or readies the main script and then computes for ever.  NW others, workers
** or whoever expires timers, ready the main script too, who claims the wait first, and the guest.
** Statuses and the steps' names are those of the code; each access to a shared word is a step of its
** own.  The handler runs between any two steps of the thread's.
**
** Checked: each wake-up has the main script go on once, on its own stack with no guest above it, and
** it is never left waiting: neither asleep nor below a guest that nobody asks to yield.  sysmon asks
** only the guest that has readied the main script itself (GU4); all else must do without.  Mutants,
** which must fail: NO_XCHG, NO_LOOK, NO_SIGNAL, LATE_MAY.
*/
#ifndef NW
#define NW 3
#endif
#ifndef ROUNDS
#define ROUNDS 3
#endif
#define IN_A_ROW 2

mtype = { RUNNABLE, RUNNING, PARKING, NOTIFIED, PARKED };
mtype = { NONE, MAY, OVER };

mtype status = RUNNING;  /* the main script's */
mtype guests = NONE;     /* m->guests */
bit claim;               /* its wait's */
bit nextp;               /* m->nextp: it is given a P */
bit curl;                /* m->curl: the handler knows whom to interrupt */
bit preempt;             /* m->preempt is m->tick */
bit signal;              /* sent, and not handled yet */
bit inq = 1;             /* the guest stands in the P's queue */
byte waits;              /* the waits that have begun */
byte woken;              /* those that were ended */
bit done;

/* ready_bound: by way of guests_main_ready, or of a P */
inline ready_bound (own) {
  if
  :: atomic { guests == MAY -> guests = OVER; }
#ifndef NO_SIGNAL
     if                                /* m_signal (GU3) */
     :: !own -> signal = 1;
     :: own
     fi;
#endif
  :: atomic { guests != MAY -> status = RUNNING; assert(!nextp); nextp = 1; }
  fi;
}

/* ready_one, of whoever has claimed the wait */
inline ready_main (own) {
  if
  :: atomic { status == PARKING -> status = NOTIFIED; }
  :: atomic { status != PARKING -> assert(status == PARKED); status = RUNNABLE; }
     ready_bound(own);
  fi;
}

/* A guest's slice on the main thread: run in src/run.c. */
inline slice () {
  self = 0;
  inq = 0;
  curl = 1;
#ifndef NO_LOOK
  if                                   /* preempt_guest (GU3) */
  :: guests == OVER -> preempt = 1;
  :: else
  fi;
#endif
  do
  :: preempt -> inq = 1; break;        /* the hook yields */
  :: self -> inq = 1; break;           /* (sysmon's request, GU4) */
  :: !self -> break;                   /* it waits */
  :: atomic { !self && claim -> claim = 0; self = 1; }
     ready_main(1);
  :: !self -> preempt; inq = 1; break;           /* it computes, till it is asked */
  od;
  curl = 0;
  preempt = 0;                         /* m->tick moves on */
}

proctype main_thread () {
  byte n;
  bit self, guest;
  do
  :: waits == ROUNDS -> break;
  :: waits < ROUNDS ->
     atomic { status = PARKING; claim = 1; waits++; }        /* park_begin */
     if                                                      /* park_here */
     :: status == NOTIFIED -> goto woken_early;
     :: else
     fi;
#ifndef LATE_MAY
     guests = MAY;
#endif
     if
     :: atomic { status == PARKING -> status = PARKED; }
     :: atomic { status != PARKING -> assert(status == NOTIFIED); }
        guests = NONE;
        goto woken_early;
     fi;
#ifdef LATE_MAY
     guests = MAY;
#endif
     n = 0;                                                  /* guests_run */
     do
     :: n == IN_A_ROW -> break;
     :: n < IN_A_ROW && guests != MAY -> break;
     :: n < IN_A_ROW && guests == MAY ->
        if
        :: inq -> slice();
        :: true -> break;                                    /* next_guest finds none */
        fi;
        n++;
     od;
     preempt = 0;
#ifdef NO_XCHG
     guest = guests == OVER;
     guests = NONE;
#else
     atomic { guest = guests == OVER; guests = NONE; }
#endif
     if
     :: guest -> assert(status == RUNNABLE && !nextp); status = RUNNING;
     :: !guest -> atomic { nextp -> nextp = 0; }             /* m_wait, asleep */
     fi;
     goto goes_on;
woken_early:
     status = RUNNING;
goes_on:
     atomic { assert(status == RUNNING && guests == NONE && !claim && !curl); woken++; }
     assert(woken == waits);
  od;
  done = 1;
}

proctype other () {
end:
  do
  :: atomic { claim -> claim = 0; }
     ready_main(0);
  :: atomic { !inq && !curl && !done -> inq = 1; }           /* the guest's wait ends */
  od;
}

/* preempt in src/run.c */
proctype handler () {
end:
  do
  :: atomic {
       signal -> signal = 0;
       if
       :: curl && guests == OVER -> preempt = 1;
       :: else
       fi;
     }
  od;
}

init {
  byte i;
  atomic {
    run main_thread();
    run handler();
    for (i : 1 .. NW) { run other(); }
  }
}
