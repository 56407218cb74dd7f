/*
** workers.pml - PARKING WORKERS: find_runnable, execute, wake_p in src/proc.c, worker_sleep and
** start_m in src/m.c.
**
** NM workers, NP P's.  The first goroutine runs already; it submits the others to its P's queue and
** computes until all of them have run, and so does each of them for those with a higher number:
** so the end is reached only if every queued goroutine is found while a P is idle, at once, by
** somebody.  A store into a queue stays in the submitter's store buffer until it is flushed, by
** itself at any time or by the sleeper's heavy fence, which all threads execute; the submitter's
** light fence keeps the order of its own steps, and no more.  A spinning M may nap before it sleeps.
**
** sysmon, which would find what was missed a moment later, is left out: the dance must do without.
**
** Checked: the end is reached (no goroutine is queued while an M sleeps and a P is idle), and then
** nobody counts as spinning.  Mutants, which must fail: NO_FENCE (the sleeper's heavy one), NO_RECHECK
** (the sleeper's second look), NO_LAST (the last spinning M that finds work wakes nobody).
*/
#ifndef NP
#define NP 3
#endif
#ifndef NM
#define NM 3
#endif
#ifndef NG
#define NG 4
#endif
#define NOBODY 255

byte q[NP];                            /* goroutines in each P's queue, as others see it */
byte buffered[NP];                     /* stores that are not visible yet */
byte ngq;                              /* the global queue */
bit sched_lock;
bit p_idle[NP];
byte nidlep;
byte nspinning;
bit m_idle[NM];                        /* in the idle list */
byte nextp[NM] = NOBODY;               /* handed over */
bit m_spin[NM];                        /* m->spinning, set by who wakes it */
bit note[NM];
byte ran;                              /* goroutines that have begun */

inline acquire () { atomic { !sched_lock -> sched_lock = 1; } }
inline release () { sched_lock = 0; }
inline fence_heavy () {
  d_step {
    i = 0;
    do
    :: i < NP -> q[i] = q[i] + buffered[i]; buffered[i] = 0; i++;
    :: else -> break;
    od;
    i = 0;
  }
}

inline pop_idle_p (p) {                /* sched.lock held */
  p = NOBODY;
  d_step {
    i = 0;
    do
    :: i < NP && p == NOBODY ->
       if :: p_idle[i] -> p_idle[i] = 0; p = i; nidlep--; :: else fi;
       i++;
    :: else -> break;
    od;
    i = 0;
  }
}

/* An M for an idle P, as a spinning one.  Where no M is idle the code makes one: here one that is
** on its way to the idle list is waited for. */
inline start_m () {
  acquire();
  pop_idle_p(p2);
  if
  :: p2 == NOBODY -> release(); atomic { nspinning--; p2 = 0; }
  :: else ->
     release();
     atomic {
       !sched_lock && (m_idle[0] || m_idle[1] || m_idle[2]);
       if
       :: m_idle[0] -> i = 0;
       :: !m_idle[0] && m_idle[1] -> i = 1;
       :: !m_idle[0] && !m_idle[1] -> i = 2;
       fi;
       m_idle[i] = 0;
       nextp[i] = p2;
       m_spin[i] = 1;
     }
     atomic { note[i] = 1; i = 0; p2 = 0; }
  fi;
}

inline wake_p () {
  if
  :: nidlep == 0
  :: nidlep != 0 ->
     if
     :: nspinning != 0
     :: nspinning == 0 ->
        if
        :: atomic { nspinning == 0 -> nspinning = 1; }
           start_m();
        :: nspinning != 0
        fi;
     fi;
  fi;
}

/* Is there a goroutine in any queue? */
inline anything_anywhere (yes) {
  yes = 0;
  if :: ngq != 0 -> yes = 1 :: else fi;
  i = 0;
  do
  :: i < NP ->
     if :: q[i] != 0 -> yes = 1 :: else fi;
     i++;
  :: else -> i = 0; break;
  od;
}

proctype worker (byte m; byte p) {     /* p: the P it begins with; NOBODY: idle */
  byte p2, i, mine, k;
  bit spinning, was, got, yes;
  if
  :: p == NOBODY -> goto sleep;
  :: else -> mine = 1; ran = 1; goto compute;
  fi;

find_runnable:
  /* the local queue, then the global one */
  if
  :: atomic { buffered[p] > 0 -> buffered[p]--; } goto execute;
  :: atomic { buffered[p] == 0 && q[p] > 0 -> q[p]--; } goto execute;
  :: atomic { buffered[p] == 0 && q[p] == 0 };
  fi;
  if
  :: ngq != 0 ->
     acquire();
     if
     :: ngq != 0 -> ngq--; release(); goto execute;
     :: else -> release();
     fi;
  :: else
  fi;
  if
  :: spinning || 2 * nspinning < NP - nidlep ->
     if
     :: !spinning -> spinning = 1; atomic { nspinning++; }
     :: else
     fi;
     k = 0;                            /* steal_work: half of each queue, here one */
     do
     :: k < NP ->
        if
        :: atomic { k != p && q[k] > 0 -> q[k]--; } goto execute;
        :: k == p || q[k] == 0
        fi;
        k++;
     :: else -> k = 0; break;
     od;
  :: else
  fi;
  acquire();
  if
  :: ngq != 0 -> release(); goto find_runnable;
  :: else
  fi;
  p_idle[p] = 1;
  nidlep++;
  release();
  p = NOBODY;
  was = spinning;
  if                                   /* take_nap, which ends at any time */
  :: spinning && nidlep < NP ->
     acquire();
     pop_idle_p(p);
     release();
     if :: p != NOBODY -> goto find_runnable :: else fi;
  :: true
  fi;
  if
  :: spinning -> spinning = 0; atomic { nspinning--; }
  :: else
  fi;
#ifndef NO_FENCE
  fence_heavy();                       /* the sleeper's step 2 */
#endif
#ifndef NO_RECHECK
  anything_anywhere(yes);              /* the sleeper's step 3 */
  if
  :: yes && nidlep != 0 ->
     acquire();
     pop_idle_p(p);
     release();
     if
     :: p != NOBODY ->
        if
        :: was -> spinning = 1; atomic { nspinning++; }
        :: else
        fi;
        goto find_runnable;
     :: else
     fi;
  :: else
  fi;
#endif

sleep:                                 /* worker_sleep */
  acquire();
  if
  :: ngq != 0 && nidlep != 0 -> pop_idle_p(p); release(); goto find_runnable;
  :: else
  fi;
  m_idle[m] = 1;
  release();
end:
  atomic {
    note[m];
    note[m] = 0;
    p = nextp[m];
    nextp[m] = NOBODY;
    spinning = m_spin[m];
    m_spin[m] = 0;
  }
  goto find_runnable;

execute:
  atomic { ran++; mine = ran; k = 0; }
  if
  :: spinning ->
     spinning = 0;
     atomic { nspinning--; got = (nspinning == 0); }
#ifndef NO_LAST
     if :: got -> wake_p() :: else fi;
#endif
  :: else
  fi;

compute:
  if
  :: mine == 1 ->                      /* the first one submits the others */
     k = 1;
     do
     :: k < NG ->
        buffered[p]++;                 /* 1. put */
        wake_p();                      /* 2. a light fence, 3. */
        k++;
     :: else -> k = 0; break;
     od;
  :: else
  fi;
wait_for_others:
  /* computes, with its P, until what it waits for has begun; NP at a time can */
  atomic { (ran >= NG || (mine > 1 && ran >= NP)); mine = 0; got = 0; was = 0; yes = 0; }
  goto find_runnable;
}

proctype buffers () {                  /* a store becomes visible some time */
  byte p;
end:
  do
  :: atomic { buffered[0] > 0 -> q[0] = q[0] + buffered[0]; buffered[0] = 0; }
  od;
}

proctype monitor () {
  byte p;
  timeout ->
  d_step {
    assert(ran == NG);
    assert(nspinning == 0);
    assert(nidlep == NP);
    p = 0;
    do
    :: p < NP -> assert(q[p] == 0 && buffered[p] == 0); p++;
    :: else -> break;
    od;
  }
}

init {
  byte i;
  atomic {
    for (i : 1 .. NP - 1) { p_idle[i] = 1; nidlep++; }
    run worker(0, 0);
    for (i : 1 .. NM - 1) { run worker(i, NOBODY); }
    run buffers();
    run monitor();
  }
}
