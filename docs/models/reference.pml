/*
 * The reference protocol under x86-TSO, with membarrier, arming and strict removal.
 *
 * README.md beside this file says what is modelled, what is left out, and how to
 * read a trail. `cargo xtask model` runs every scenario to the end of its state
 * space, and every broken variant in the scenario that has to find it. It reads
 * the `#ifdef SCENARIO_` lines, and this list of `broken: NAME in SCENARIO`:
 *
 * broken: NO_HEAVY in kill
 * broken: NO_LIGHT_FENCE in fenced
 * broken: NO_SECOND_LOOK in kill
 * broken: NO_PENDING in kill
 * broken: SETTLE_BY_LOAD in kill
 * broken: SWITCHER_LOOKS_ONCE in kill
 * broken: NOT_NOTIFIED_ONCE in kill
 * broken: KEPT_TOO_LATE in kill
 * broken: INIT_BY_STORE in reuse
 * broken: NO_GRACE in reuse
 * broken: INIT_KEEPS_QUEUED in newborn
 * broken: RESUME_WITHOUT_BIAS in rearm
 * broken: ARM_FORGETS_BUSY in arm
 * broken: NOT_TOLD in strict
 * broken: COLLECT_DOES_NOT_LOOK in armed
 * broken: COLLECT_BEFORE_UNQUEUED in armed
 * broken: QUEUED_NOT_CHECKED in armed
 * broken: DEATH_PUSHES_ALWAYS in strict
 * broken: KILL_FORGETS_BASE in strict
 * broken: FREEZE_OVER_UNITS in strict
 * broken: DECISION_NOT_ASKED in strict
 * broken: COMMIT_BY_STORE in strict
 * broken: REMOVED_BY_STORE in strict
 * broken: UNFREEZE_BY_STORE in strict
 * broken: UNFREEZE_FORGOTTEN in subtree
 * broken: REFUSED_UNTOLD in mixed
 * broken: TAG_NOT_COMPARED in subtree
 */

/* ---------------------------------------------------------------- scenarios */

#define WORKERS 2
#define MANAGER WORKERS /* whoever holds the structural lock */
#define DEPTH 3         /* stores that a buffer holds */

/*
 * CSS     css, numbered from 0; with TWO_GROUPS each has a group of its own
 * HELD    references to css 0 that worker 0 starts with
 * OPS     operations of each worker, puts not counted
 * STARTS_EXACT(c)  whether css c is exact at first, and its group armed
 * SCRIPT  what the structural calls do, one after the other
 */

/* One kill among gets, puts and references that wander. */
#ifdef SCENARIO_kill
#define CSS 1
#define HELD 2
#define OPS 1
#define GETS
#define TRIES
#define TRIES_UNRELEASED
#define GIVES
#define SCRIPT kill()
#endif

/* The same with fences in place of the asymmetric barrier. */
#ifdef SCENARIO_fenced
#define CSS 1
#define HELD 2
#define OPS 1
#define FENCED
#define GETS
#define TRIES
#define GIVES
#define SCRIPT kill()
#endif

/* The id is used again, with a put of the former css still under way. */
#ifdef SCENARIO_reuse
#define CSS 1
#define HELD 1
#define OPS 1
#define TRIES
#define TRIES_UNRELEASED
#define SCRIPT kill(); until_released(); reuse(); kill()
#endif

/* Armed, disarmed, and armed again. */
#ifdef SCENARIO_rearm
#define CSS 1
#define HELD 1
#define OPS 1
#define GETS
#define TRIES
#define SCRIPT arm(0, 0, 0); reclaim_some(); disarm(0, 0, 0); reclaim_some(); arm(0, 0, 0)
#endif

/* Two css of a group, armed while in use. */
#ifdef SCENARIO_arm
#define CSS 2
#define HELD 1
#define OPS 1
#define TRIES
#define SCRIPT arm(0, 0, 1)
#endif

/* Two css of an armed group, in use and at rest by turns, and removed at last. */
#ifdef SCENARIO_armed
#define CSS 2
#define HELD 0
#define OPS 2
#define STARTS_EXACT(c) 1
#define TRIES
#define SCRIPT reclaim_some()
#endif

/* A strict removal of an armed group with two css; if it is refused, a detach. */
#ifdef SCENARIO_strict
#define CSS 2
#define HELD 0
#define OPS 1
#define STARTS_EXACT(c) 1
#define TRIES
#define TRIES_UNRELEASED
#define SCRIPT reclaim_some(); strict(0, 1, 0); \
	if :: ok :: else -> reclaim_some(); c = 0; kill(); c = 1; kill(); c = 0 fi
#endif

/* Strict removals of a group that counts per thread, and nobody waits for. */
#ifdef SCENARIO_plain
#define CSS 1
#define HELD 1
#define OPS 1
#define GETS
#define TRIES
#define SCRIPT strict(0, 0, 0); if :: ok :: else -> kill() fi
#endif

/* A strict removal of two groups at once; if it is refused, of one after the other. */
#ifdef SCENARIO_subtree
#define CSS 2
#define TWO_GROUPS
#define HELD 0
#define OPS 1
#define STARTS_EXACT(c) 1
#define TRIES
#define SCRIPT strict(0, 1, 1); if :: ok :: else -> strict(0, 0, 0); strict(1, 1, 1) fi
#endif

/* The same with a parent that is not armed: it counts per thread, and goes back to that. */
#ifdef SCENARIO_mixed
#define CSS 2
#define TWO_GROUPS
#define HELD 1
#define OPS 1
#define STARTS_EXACT(c) ((c) == 1)
#define TRIES
#define SCRIPT strict(0, 1, 1); if :: ok :: else -> arm(0, 0, 0) fi
#endif

/* A strict removal, and the id used again in a group that is armed from birth. */
#ifdef SCENARIO_newborn
#define CSS 1
#define HELD 0
#define OPS 2
#define STARTS_EXACT(c) 1
#define BORN_EXACT
#define TRIES
#define TRIES_UNRELEASED
#define SCRIPT strict(0, 0, 0); if :: ok :: else -> kill() fi; until_released(); reuse()
#endif

#ifndef STARTS_EXACT
#define STARTS_EXACT(c) 0
#endif
#ifdef TWO_GROUPS
#define GROUPS 2
#define GROUP(c) (c)
#else
#define GROUPS 1
#define GROUP(c) 0
#endif

/* ------------------------------------------------------------------- words */

/* Header.value: flags, and V in the low bits. Two marks and seven references fit. */
#define BIAS      64
#define PENDING   8
#define COUNT     127
#define BUSY      128
#define QUEUED    256
#define NOTIFIED  512
#define DEAD      1024
#define FLAGS     (BUSY | QUEUED | NOTIFIED | DEAD)
#define V(value)  ((value) & COUNT)
#define IDLE(v)   (((v) & (DEAD | BUSY)) == 0 && V(v) < BIAS / 2)

/* Header.mode; both per-thread modes are one here: a scenario has one of them. */
#define PER_THREAD 0
#define ATOMIC     1

/* Uses.word: units, flags, tag. */
#define UNITS      15
#define FROZEN     16
#define REMOVED    32
#define TAGGED(t)  ((t) << 6)
#define TAG(word)  ((word) >> 6)

/* Decision.word: tag, verdict. */
#define OPEN       1
#define ABORTED    2
#define COMMITTED  3
#define VERDICT(d) ((d) & 3)
#define DECIDED(t, verdict) (((t) << 2) | (verdict))
#define DTAG(d)    ((d) >> 2)

/* ------------------------------------------------------------------ memory */

byte  mode[CSS];
short value[CSS];
short count[WORKERS * CSS];
short accounted[WORKERS * CSS];
short word[GROUPS];
byte  decision;
bit   listed[CSS];      /* the id is on the release list */
byte  pool;             /* references to css 0 on their way from worker to worker */

#define CELL(w, c) ((w) * CSS + (c))

/* What a thread stored and nobody else sees yet, first in first out. */
chan buffer[WORKERS + 1] = [DEPTH] of { byte, short };
#define A_CELL(c) (c)
#define A_GIFT    10
#define A_MODE(c) (20 + (c))

byte need;              /* workers that still have to pass the heavy barrier */
byte looking = WORKERS; /* whose cells are looked at */
byte gifts;             /* in buffers and in the pool */

/* --------------------------------------- what is true, whatever memory says */

byte refs[CSS];         /* completed gets and try_gets less puts begun */
bit  alive[CSS];        /* a lookup finds the css */
bit  released[CSS];     /* and not taken over */
byte releases[CSS];
bit  killing[CSS];      /* the kill began */
bit  killed[CSS];       /* the kill returned */
bit  committed[GROUPS]; /* a strict removal is decided */
bit  armed[GROUPS];
bit  due[GROUPS];       /* in use, or armed so as to tell, since the last edge */
bit  untold[GROUPS];    /* there was an edge, and it is not told */
bit  guard[WORKERS];

/* The oldest store in a buffer reaches memory. */
inline drain(w)
{
	d_step {
		buffer[w]?kind,stored;
		if
		:: kind == A_GIFT -> pool++
		:: kind > A_GIFT -> mode[kind - A_MODE(0)] = stored
		:: else -> count[CELL(w, kind)] = stored
		fi;
		kind = 0; stored = 0
	}
}

inline drain_all(w)
{
	do
	:: nempty(buffer[w]) -> drain(w)
	:: empty(buffer[w]) -> break
	od
}

/* What a locked instruction begins with. */
#define LOCKED drain_all(me)

inline store(what, it)
{
	atomic {
		if
		:: full(buffer[me]) -> drain(me)
		:: nfull(buffer[me])
		fi;
		buffer[me]!what,it
	}
}

/*
 * Stores reach memory at any time. What only one thread ever looks at, the cells,
 * does so when that thread looks: earlier makes no difference to anybody.
 */
active proctype memory()
{
	byte kind;
	short stored;
end:
	do
	:: atomic { nempty(buffer[0]) && (looking == 0 || gifts) -> drain(0) }
	:: atomic { nempty(buffer[1]) && (looking == 1 || gifts) -> drain(1) }
	:: atomic { nempty(buffer[MANAGER]) -> drain(MANAGER) }
	:: atomic { need & 1 -> drain_all(0); need = need & 2 }
	:: atomic { need & 2 -> drain_all(1); need = need & 1 }
	od
}

/* ------------------------------------------------------- steps on a header */

/* value += delta + flags. */
inline add(delta, flags)
{
	atomic {
		LOCKED;
		assert(V(value[c]) + (delta) >= 0 && V(value[c]) + (delta) <= COUNT);
		assert((value[c] & (flags)) == 0);
		value[c] = value[c] + (delta) + (flags)
	}
}

#define RESTING(v) (V(v) == 0 && ((v) & (DEAD | BUSY)) == BUSY)
#define DIES(v)   (V(v) == 0 && ((v) & (DEAD | NOTIFIED)) == DEAD)
#ifdef QUEUED_NOT_CHECKED
#define RESTS(v)  RESTING(v)
#else
#define RESTS(v)  (RESTING(v) && !((v) & QUEUED))
#endif

/* The same with the zero check behind it; won becomes whether the id was pushed. */
inline add_and_check(delta, flags)
{
	atomic { add(delta, flags); won = DIES(value[c]) || RESTS(value[c]) };
	if
	:: won ->
		atomic {
			LOCKED;
			if
			:: DIES(value[c]) ->
#ifndef DEATH_PUSHES_ALWAYS
				won = !(value[c] & QUEUED);
#endif
#ifndef NOT_NOTIFIED_ONCE
				value[c] = value[c] | NOTIFIED | QUEUED
#endif
			:: RESTS(value[c]) -> value[c] = value[c] | QUEUED
			:: else -> won = 0
			fi
		};
		if
		:: won -> atomic { assert(!listed[c]); listed[c] = 1 }             /* P5 */
		:: else
		fi
	:: else
	fi
}

/* ----------------------------------------------- what a worker does: counts */

/* Adds delta where the mode says; m is the mode, loaded with the operation's start. */
inline count_by(delta)
{
	if
	:: m == PER_THREAD ->
		atomic { mine[c] = mine[c] + (delta); store(A_CELL(c), mine[c]) };
		atomic {
#if defined(FENCED) && !defined(NO_LIGHT_FENCE)
			LOCKED;
#endif
			m = mode[c]
		};
		if
#ifndef NO_SECOND_LOOK
		:: m != PER_THREAD -> settle()
#endif
		:: else
		fi
	:: else ->
		add_and_check(delta, 0)
	fi;
	atomic { m = 0; x = 0; rounds = 0; won = 0 }
}

inline settle()
{
	rounds = 0;
	do
	::
		atomic {
#ifndef SETTLE_BY_LOAD
			LOCKED;
#endif
			x = accounted[CELL(me, c)]
		};
		if
		:: x == mine[c] -> break
		:: else
		fi;
#ifndef NO_PENDING
		add(PENDING, 0);
#endif
		atomic {
			LOCKED;
			if
			:: accounted[CELL(me, c)] == x -> accounted[CELL(me, c)] = mine[c]; won = 1
			:: else -> won = 0
			fi
		};
		if
		:: won ->
			won = 0;
#ifdef NO_PENDING
			add_and_check(mine[c] - x, 0);
#else
			add_and_check(mine[c] - x - PENDING, 0);
#endif
			break
		:: else ->
#ifndef NO_PENDING
			add_and_check(-PENDING, 0);
			/* Who pushed may stop: at zero, the share was taken. */
			if
			:: won -> break
			:: 1
			fi;
#endif
			rounds++;
			assert(rounds < 3)                                             /* P6 */
		fi
	od
}

/* ---------------------------------------------- what a worker does: try_get */

/* After the share is counted: got becomes whether the reference is kept. */
inline confirm()
{
	atomic {
		got = !(value[c] & NOTIFIED) && !(online && (value[c] & DEAD));
		isin = got && IDLE(value[c])
	};
	if
#ifdef NOT_TOLD
	:: isin -> atomic { LOCKED; isin = 0; if :: IDLE(value[c]) -> value[c] = value[c] | BUSY :: else fi }
#else
	:: isin -> enter()
#endif
	:: else
	fi;
	if
	:: got
	:: else ->
#ifndef KEPT_TOO_LATE
		add_and_check(-1, 0)
#endif
	fi
}

/* From idle: takes a unit of the group's uses, and learns whether the removal is decided. */
inline enter()
{
	atomic {
		LOCKED;
		assert((word[GROUP(c)] & UNITS) < UNITS);
		word[GROUP(c)]++;
		a = word[GROUP(c)]
	};
	isin = 1;
	if
	:: a & REMOVED -> isin = 0
#ifndef DECISION_NOT_ASKED
	:: !(a & REMOVED) && (a & FROZEN) -> ask()
#endif
	:: else
	fi;
	if
	:: isin ->
		atomic {
			LOCKED;
			if
			:: IDLE(value[c]) -> value[c] = value[c] | BUSY; isin = 0
			:: else
			fi
		};
		if
		:: isin -> leave()
		:: else
		fi
	:: else ->
		leave();
		got = !online
	fi;
	isin = 0; a = 0
}

inline leave()
{
	atomic {
		LOCKED;
		assert((word[GROUP(c)] & UNITS) > 0);
		word[GROUP(c)]--;
#ifndef MAY_LEAVE_LAST
		/* Nobody would tell this edge. */
		assert((word[GROUP(c)] & (REMOVED | UNITS)) != 0 || killing[c] || committed[GROUP(c)])
#endif
	}
}

inline ask()
{
	rounds = 0;
	do
	::
		d = decision;
		if
#ifndef TAG_NOT_COMPARED
		:: DTAG(d) != TAG(a) ->
			/* The attempt is over; the group shows how it ended. */
			a = word[GROUP(c)];
			isin = !(a & REMOVED);
			break
#endif
		:: else ->
			if
			:: VERDICT(d) == OPEN ->
				atomic {
					LOCKED;
					if
					:: decision == d -> decision = DECIDED(DTAG(d), ABORTED); won = 1
					:: else -> won = 0
					fi
				};
				if
				:: won -> won = 0; break
				:: else
				fi
			:: VERDICT(d) == COMMITTED -> isin = 0; break
			:: else -> break
			fi
		fi;
		rounds++;
		assert(rounds < 3)                                                 /* P6 */
	od;
	d = 0; rounds = 0
}

/* ----------------------------------------------------------------- workers */

#define PUT     1
#define GET     2
#define TRY     3

#define CAN_PUT(i) \
	:: atomic { held[i] > 0 -> c = i; op = PUT; delta = -1; held[i]--; refs[i]--; m = mode[i] }
#define CAN_GET(i) \
	:: atomic { left > 0 && held[i] > 0 -> c = i; op = GET; delta = 1; left--; m = mode[i] }
#define CAN_TRY(i) \
	:: atomic { left > 0 && alive[i] -> c = i; op = TRY; delta = 1; online = 1; left--; guard[me] = 1; \
		late = killed[i] || committed[GROUP(i)]; born = releases[i]; m = mode[i] }
#define CAN_TRY_UNRELEASED(i) \
	:: atomic { left > 0 && alive[i] -> c = i; op = TRY; delta = 1; online = 0; left--; guard[me] = 1; \
		born = releases[i]; m = mode[i] }

/* What an operation came to, for those who know better. */
inline judge()
{
	atomic {
		if
		:: got ->
			assert(!released[c] && (op == GET || born == releases[c]));       /* P1 */
			assert(!online || (!late && !committed[GROUP(c)]));            /* P2 */
			held[c]++;
			refs[c]++;
			due[GROUP(c)] = 1
		:: else ->
			assert(!online || killing[c] || committed[GROUP(c)])           /* P3 */
		fi;
		guard[me] = 0
	}
}

proctype worker(byte me; byte left)
{
	byte c, op, m, d, rounds, born, kind;
	short x, a, delta, stored;
	short mine[CSS];
	byte held[CSS];
	bit won, got, online, late, isin;

	if
	:: me == 0 && HELD > 0 -> atomic { held[0] = HELD; mine[0] = HELD }
	:: else
	fi;
end_home:
	if
	CAN_PUT(0)
#if CSS > 1
	CAN_PUT(1)
#endif
#ifdef GETS
	CAN_GET(0)
#endif
#ifdef TRIES
	CAN_TRY(0)
#if CSS > 1
	CAN_TRY(1)
#endif
#endif
#ifdef TRIES_UNRELEASED
	CAN_TRY_UNRELEASED(0)
#endif
#ifdef GIVES
	:: atomic { left > 0 && held[0] > 0 -> left--; held[0]--; gifts++; store(A_GIFT, 0); goto end_home }
	:: atomic { pool > 0 -> pool--; gifts--; held[0]++; goto end_home }
#endif
	fi;
	count_by(delta);
	if
	:: op == GET -> got = 1
	:: op == TRY -> confirm()
	:: op == PUT
	fi;
	if
	:: op != PUT -> judge()
	:: else
	fi;
	atomic { c = 0; op = 0; delta = 0; won = 0; got = 0; online = 0; late = 0; born = 0 };
	goto end_home
}

/* ------------------------------------------------- the structural lock's holder */

inline heavy()
{
#ifndef NO_HEAVY
	atomic {
		LOCKED;
#ifndef FENCED
		need = 3
#endif
	};
	need == 0
#else
	skip
#endif
}

/* Takes the share of worker w for the header. */
inline capture(w)
{
	rounds = 0;
	do
	::
		atomic { looking = w; x = accounted[CELL(w, c)] };
		atomic { y = count[CELL(w, c)]; looking = WORKERS };
		if
		:: x == y -> break
		:: else
		fi;
		atomic {
			LOCKED;
			if
			:: accounted[CELL(w, c)] == x -> accounted[CELL(w, c)] = y; won = 1
			:: else -> won = 0
			fi
		};
		if
		:: won ->
			won = 0;
			share = share + y - x;
#ifdef SWITCHER_LOOKS_ONCE
			break
#endif
		:: else
		fi;
		rounds++;
		assert(rounds < 4)                                                 /* P6 */
	od;
	x = 0; y = 0; rounds = 0
}

/* The last unit went: the group is in use no more, and that is yet to be told. */
inline edge(g)
{
	assert(due[g]);                                                        /* P4 */
	assert(refs[0] == 0 || GROUP(0) != g);
#if CSS > 1
	assert(refs[1] == 0 || GROUP(1) != g);
#endif
	due[g] = 0;
	untold[g] = 1
}

inline take_unit(g)
{
	atomic { LOCKED; assert((word[g] & UNITS) < UNITS); word[g]++ }
}

inline return_unit(g)
{
	atomic {
		LOCKED;
		assert((word[g] & UNITS) > 0);
		word[g]--;
		if
		:: armed[g] && (word[g] & (REMOVED | UNITS)) == 0 -> edge(g)
		:: else
		fi
	}
}

/* Whoever saw an edge tells it before it lets go of the lock. */
inline tell(g)
{
	untold[g] = 0
}

/* Ends the use of css c if it has come to rest. */
inline collect()
{
	atomic {
		LOCKED;
		won = 0;
		if
#ifdef COLLECT_DOES_NOT_LOOK
		:: (value[c] & (DEAD | BUSY)) == BUSY -> value[c] = value[c] & ~BUSY; won = 1
#else
		:: RESTING(value[c]) -> value[c] = value[c] & ~BUSY; won = 1
#endif
		:: else
		fi
	};
	if
	:: won -> won = 0; return_unit(GROUP(c)); tell(GROUP(c))
	:: else
	fi
}

/* Makes the counts of css FIRST..LAST exact; leaves the structural units alone. */
inline make_exact(first, last)
{
	i = first;
	do
	:: i <= last && !exact[i] -> store(A_MODE(i), ATOMIC); i++
	:: i <= last && exact[i] -> i++
	:: i > last -> break
	od;
	if
	:: exact[first] && exact[last]
	:: else -> heavy()
	fi;
	c = first;
	do
	:: c <= last && !exact[c] ->
		share = 0;
		capture(0);
		capture(1);
		take_unit(GROUP(c));
#ifdef ARM_FORGETS_BUSY
		add(share - BIAS - 1, 0);
#else
		add(share - BIAS - 1, BUSY);
#endif
		atomic { exact[c] = 1; share = 0 };
		collect();
		c++
	:: c <= last && exact[c] -> c++
	:: c > last -> break
	od;
	c = 0; i = 0
}

/* Counts of css FIRST..LAST go back to the cells where the group is not armed. */
inline resume(first, last)
{
	c = first;
	do
	:: c <= last && exact[c] && !armed[GROUP(c)] ->
		atomic {
			LOCKED;
			won = ((value[c] & BUSY) != 0);
#ifdef RESUME_WITHOUT_BIAS
			value[c] = (value[c] & ~BUSY) + 1
#else
			value[c] = (value[c] & ~BUSY) + BIAS + 1
#endif
		};
		if
		:: won -> won = 0; return_unit(GROUP(c))
		:: else
		fi;
		store(A_MODE(c), PER_THREAD);
		exact[c] = 0;
		c++
	:: c <= last && (!exact[c] || armed[GROUP(c)]) -> c++
	:: c > last -> break
	od;
	c = 0
}

/* The group asks for notices from here on, and this may be the first. */
inline arm(g, first, last)
{
	make_exact(first, last);
	atomic { armed[g] = 1; due[g] = 1 };
	return_unit(g);
	tell(g)
}

inline disarm(g, first, last)
{
	take_unit(g);
	atomic { armed[g] = 0; due[g] = 0 };
	resume(first, last)
}

/* Kills css c, and puts the base. */
inline kill()
{
	killing[c] = 1;
	if
	:: exact[c] ->
		atomic {
			LOCKED;
#ifdef KILL_FORGETS_BASE
			value[c] = (value[c] & ~BUSY) + DEAD
#else
			value[c] = (value[c] & ~BUSY) + DEAD + 1
#endif
		}
	:: else ->
		store(A_MODE(c), ATOMIC);
		heavy();
		share = 0;
		capture(0);
		capture(1);
		add_and_check(share - BIAS, DEAD);
		share = 0
	fi;
	atomic { killed[c] = 1; exact[c] = 0 };
	/* The hooks run here. */
	add_and_check(-1, 0);
	won = 0
}

/* Takes css c over for a new one, after its release and a grace period. */
inline reuse()
{
#ifndef NO_GRACE
	guard[0] == 0;
	guard[1] == 0;
#endif
	atomic { killing[c] = 0; killed[c] = 0; committed[GROUP(c)] = 0 };
	atomic { due[GROUP(c)] = 0; untold[GROUP(c)] = 0 };
#ifdef BORN_EXACT
	/* In a new group, armed from birth. */
	exact[c] = 1;
	atomic { LOCKED; word[GROUP(c)] = 0; armed[GROUP(c)] = 1 };
#define FRESH 0
#else
	store(A_MODE(c), PER_THREAD);
#define FRESH (BIAS + 1)
#endif
	v = value[c];
#ifdef INIT_BY_STORE
	atomic { LOCKED; value[c] = FRESH };
#else
#ifdef INIT_KEEPS_QUEUED
	atomic { LOCKED; value[c] = value[c] + FRESH - (v & (FLAGS & ~QUEUED)) };
#else
	atomic { LOCKED; value[c] = value[c] + FRESH - (v & FLAGS) };
#endif
#endif
	v = 0;
	/* The lock is released here, and with it the mode is in memory. */
	atomic { LOCKED; released[c] = 0; alive[c] = 1 }
}

/* Collects css first..last; used becomes whether one has references. */
inline find(first, last)
{
	c = first;
	do
	:: c <= last ->
		atomic {
			LOCKED;
			won = 0;
			used = used || V(value[c]) > 0;
			if
			:: RESTING(value[c]) -> value[c] = value[c] & ~BUSY; won = 1
			:: else
			fi
		};
		if
		:: won -> won = 0; return_unit(GROUP(c))
		:: else
		fi;
		c++
	:: c > last -> break
	od;
	c = 0
}

/* Tries to remove the groups of css first..last strictly; ok becomes whether it did. */
inline strict(first, last, glast)
{
	make_exact(first, last);
	g = GROUP(first);
	do
	:: g <= glast && !armed[g] -> return_unit(g); g++
	:: g <= glast && armed[g] -> g++
	:: g > glast -> break
	od;
	ok = 0;
	do
	::
		decide(GROUP(first), glast);
		if
		:: ok -> break
		:: else
		fi;
		/* Somebody came in, and is seen now; or what is at rest holds a unit still. */
		find(first, last);
		if
		:: used -> break
		:: else
		fi;
		assert(tag < 7)                                                    /* P6 */
	od;
	used = 0;
	g = GROUP(first);
	if
	:: ok ->
		do
		:: g <= glast ->
#ifdef REMOVED_BY_STORE
			atomic { LOCKED; word[g] = REMOVED };
#else
			atomic { LOCKED; word[g] = word[g] + REMOVED - FROZEN - TAGGED(tag) };
#endif
			g++
		:: g > glast -> break
		od;
		c = first;
		do
		:: c < last -> kill(); c++
		:: c == last -> kill(); break
		od;
		c = 0
	:: else ->
		/* Who was not armed has its structural unit and its cells back. */
		do
		:: g <= glast && !armed[g] -> take_unit(g); g++
		:: g <= glast && armed[g] -> g++
		:: g > glast -> break
		od;
		resume(first, last);
#ifndef REFUSED_UNTOLD
		g = GROUP(first);
		do
		:: g <= glast -> tell(g); g++
		:: g > glast -> break
		od
#endif
	fi;
	g = 0
}

/* All groups from g to glast, or none. */
inline decide(gfirst, glast)
{
	tag++;
	ok = 1;
	atomic { LOCKED; decision = DECIDED(tag, OPEN) };
	g = gfirst;
	do
	:: g <= glast ->
		atomic {
			LOCKED;
			if
#ifdef FREEZE_OVER_UNITS
			:: 1 -> word[g] = word[g] + FROZEN + TAGGED(tag)
#else
			:: word[g] == 0 -> word[g] = FROZEN + TAGGED(tag)
			:: else -> ok = 0
#endif
			fi
		};
		if
		:: ok -> g++
		:: else -> break
		fi
	:: g > glast -> break
	od;
	if
	:: ok ->
		atomic {
			LOCKED;
			if
#ifdef COMMIT_BY_STORE
			:: 1 -> decision = DECIDED(tag, COMMITTED); commit(gfirst, glast)
#else
			:: decision == DECIDED(tag, OPEN) ->
				decision = DECIDED(tag, COMMITTED);
				commit(gfirst, glast)
			:: else -> ok = 0
#endif
			fi
		}
	:: else
	fi;
	if
	:: ok
	:: else ->
		atomic { LOCKED; decision = DECIDED(tag, ABORTED) };
#ifndef UNFREEZE_FORGOTTEN
		do
		:: g > gfirst ->
			g--;
#ifdef UNFREEZE_BY_STORE
			atomic { LOCKED; word[g] = 0 }
#else
			atomic { LOCKED; word[g] = word[g] - FROZEN - TAGGED(tag) }
#endif
		:: g == gfirst -> break
		od
#endif
	fi
}

/* The instant of a strict removal. */
inline commit(gfirst, glast)
{
	assert(refs[0] == 0 || GROUP(0) < gfirst || GROUP(0) > glast);         /* P2 */
#if CSS > 1
	assert(refs[1] == 0 || GROUP(1) < gfirst || GROUP(1) > glast);
#endif
	committed[gfirst] = 1;
	committed[glast] = 1
}

/* What the reclaimer does with an id from the list. */
inline handle()
{
#ifdef COLLECT_BEFORE_UNQUEUED
	collect();
#endif
	atomic {
		LOCKED;
		listed[c] = 0;
		won = ((value[c] & NOTIFIED) != 0);
		if
		:: won -> release()
		:: else -> value[c] = value[c] & ~QUEUED
		fi
	};
#ifndef COLLECT_BEFORE_UNQUEUED
	if
	:: !won -> collect()
	:: else
	fi;
#endif
	won = 0
}

inline release()
{
	assert(!released[c]);                                                  /* P1 */
	assert(refs[c] == 0);
	released[c] = 1;
	releases[c]++;
	alive[c] = 0
}

/* The reclaimer handles some of what is listed, or nothing. */
#if CSS > 1
#define HANDLES :: listed[0] -> c = 0; handle() :: listed[1] -> c = 1; handle(); c = 0
#else
#define HANDLES :: listed[0] -> handle()
#endif

inline until_released() { do HANDLES :: released[0] -> break od }

inline reclaim_some() { do HANDLES :: break od }

/* The value of a css without references: all is in the header but what cells still have. */
#define exactly(c) ((exact[c] -> 0 : BIAS + 1) \
	- (count[CELL(0, c)] - accounted[CELL(0, c)]) - (count[CELL(1, c)] - accounted[CELL(1, c)]))

/* All is quiet: nobody can do anything more. */
inline finish()
{
	atomic {
		drain_all(0);
		drain_all(1);
		assert(pool == 0);
		c = 0;
		do
		:: c < CSS ->
			assert(refs[c] == 0);
			assert(released[c] || !killed[c]);                             /* P1 */
			if
			:: !killed[c] ->
				share = value[c] - exactly(c);
				assert(share == 0)
			:: else
			fi;
			assert(!armed[GROUP(c)] || killed[c]
				|| (!due[GROUP(c)] && !untold[GROUP(c)] && word[GROUP(c)] == 0)); /* P4 */
			c++
		:: c == CSS -> break
		od
	}
}
proctype manager()
{
	byte me = MANAGER;
	byte c, g, i, rounds, tag, kind;
	short v, x, y, share, stored;
	bit won, ok, used;
	bit exact[CSS];
	exact[0] = STARTS_EXACT(0);
#if CSS > 1
	exact[1] = STARTS_EXACT(1);
#endif
	SCRIPT;
	do
	HANDLES
	:: timeout -> break
	od;
	finish()
}

init {
	atomic {
		byte n = 0;
		do
		:: n < CSS ->
			alive[n] = 1;
			if
			:: STARTS_EXACT(n) ->
				/* Armed and releasable, and that was told. */
				mode[n] = ATOMIC;
				armed[GROUP(n)] = 1
			:: else ->
				/* Every css has its base, every group a structural unit. */
				mode[n] = PER_THREAD;
				value[n] = BIAS + 1;
				word[GROUP(n)] = 1
			fi;
			n++
		:: n == CSS -> break
		od;
		count[0] = HELD;
		refs[0] = HELD;
		n = 0;
		run worker(0, OPS);
		run worker(1, OPS);
		run manager()
	}
}
