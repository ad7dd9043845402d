/* The protocol of strict order once more, in Promela: guard, held events, parked keys, letters, fence, settling, replay.
 *
 * The same machine as tests/model/protocol.py, step for step, so that the two can be counted against each other:
 * `python -m tests.model --spin` does. Every step is one d_step, and what is nowhere any more is set to zero, so that a
 * state here is a state there.
 */

#ifndef KEYS
#define KEYS 2        /* at most 2 */
#endif
#ifndef VERSIONS
#define VERSIONS 3    /* at most 3 */
#endif
#ifndef TWICE
#define TWICE 0       /* events that are delivered again although they are settled */
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef ZOMBIES
#define ZOMBIES 0     /* partitions taken away without a word */
#endif
#ifndef WAITS
#define WAITS 0       /* gaps that outlast their limit, and replays that die */
#endif
#ifndef POISON
#define POISON 0      /* the version of key 0 that fails until an operator has mended the handler; 0: none */
#endif

/* What can be left out, to see that it is needed. */
#ifndef NO_GUARD
#define NO_GUARD 0
#endif
#ifndef NO_HELD
#define NO_HELD 0
#endif
#ifndef NO_PARKING
#define NO_PARKING 0
#endif
#ifndef NO_FENCE
#define NO_FENCE 0
#endif
#ifndef NO_REVISION
#define NO_REVISION 0
#endif
#ifndef SETTLES_FIRST
#define SETTLES_FIRST 0
#endif

/* How a key is. */
#define FLOWS 0
#define GAP 1
#define DUE 2
#define PARKED 3
#define MISSING 4
#define REPLAY 5

#define OPERATOR 2
#define BIT(v) (1 << (v))

/* A row of the store, with the events that wait (a bit for each version) and the open letter. The ledger is 1, 2, ...,
 * effects; what took effect otherwise is noted in `disorder`. */
typedef Row { byte last; byte effects; byte disorder; byte held; byte how; byte letter };

/* A transaction between its reading and its commit, or a delivery between its commit and its settling. */
typedef Flight {
  bit there; bit writes; bit stale; bit committed;
  byte key; byte version; byte fence; byte waited;
  Row row
};

Row keys[2];
byte settled[2];
Flight flights[3];
byte fence, owner, twice, crashes, zombies, waits;
bit mended;

/* For the step at hand, and no part of a state. */
hidden Row r;
hidden byte writes;
hidden byte at;
hidden byte waited;

inline read(k) {
  r.last = keys[k].last; r.effects = keys[k].effects; r.disorder = keys[k].disorder;
  r.held = keys[k].held; r.how = keys[k].how; r.letter = keys[k].letter;
  writes = 1
}

inline forget(who) {
  flights[who].there = 0; flights[who].writes = 0; flights[who].stale = 0; flights[who].committed = 0;
  flights[who].key = 0; flights[who].version = 0; flights[who].fence = 0; flights[who].waited = 0;
  flights[who].row.last = 0; flights[who].row.effects = 0; flights[who].row.disorder = 0;
  flights[who].row.held = 0; flights[who].row.how = 0; flights[who].row.letter = 0
}

inline fly(who, k, v) {
  flights[who].there = 1; flights[who].key = k; flights[who].version = v; flights[who].waited = keys[k].held;
  flights[who].fence = (who == OPERATOR -> 0 : fence);
  if
  :: writes ->
    flights[who].writes = 1;
    flights[who].row.last = r.last; flights[who].row.effects = r.effects; flights[who].row.disorder = r.disorder;
    flights[who].row.held = r.held; flights[who].row.how = r.how; flights[who].row.letter = r.letter
  :: else
  fi
}

inline effect(v) {
  r.disorder = r.disorder || (v != r.effects + 1);
  r.effects = r.effects + 1
}

/* What waits decides how a key goes on. */
inline resume() {
  if
  :: r.held == 0 -> r.how = FLOWS
  :: else ->
    at = 1;
    do
    :: (r.held & BIT(at)) == 0 -> at++
    :: else -> break
    od;
    r.how = (at <= r.last + 1 -> DUE : GAP)
  fi
}

inline look_ahead() {
  if
  :: r.how == PARKED
  :: else -> resume()
  fi
}

inline apply(k, v) {
  r.held = r.held & (255 - BIT(v));
  if
  :: k == 0 && v == POISON && !mended ->
    r.letter = v;
    if
    :: NO_PARKING -> r.last = v
    :: else -> r.how = PARKED
    fi
  :: else -> r.last = v; effect(v)
  fi
}

inline hold(v) {
  if
  :: NO_HELD -> writes = 0
  :: else ->
    r.held = r.held | BIT(v);
    if
    :: r.how == FLOWS -> r.how = GAP
    :: else
    fi
  fi
}

inline decide(k, v) {
  read(k);
  if
  :: NO_GUARD -> effect(v); r.last = (v > r.last -> v : r.last)
  :: else ->
    if
    :: (r.held & BIT(v)) || v <= r.last ->
      /* A key that can go on is noted once more, so that this worker looks after it too. */
      writes = (r.how == DUE)
    :: else ->
      if
      :: v > r.last + 1 || r.how == PARKED || r.how == REPLAY -> hold(v)
      /* What waits is decided first: it is the last version again, delivered while it was a letter. */
      :: else ->
        if
        :: (r.held & BIT(r.last)) -> hold(v)
        :: else -> apply(k, v); look_ahead()
        fi
      fi
    fi
  fi
}

inline one_of_held(k, v) {
  if
  :: (waited & BIT(v)) && v <= r.last -> r.held = r.held & (255 - BIT(v))
  :: (waited & BIT(v)) && v == r.last + 1 && r.how == DUE -> apply(k, v)
  :: else
  fi
}

/* What waits is decided in the order of its versions, as far as it goes. */
inline drain(k) {
  read(k); r.how = DUE; waited = r.held;
  one_of_held(k, 1); one_of_held(k, 2); one_of_held(k, 3);
  look_ahead()
}

inline put_through(k) {
  read(k);
  if
  :: r.letter <= r.last -> r.letter = 0
  :: else ->
    r.last = r.letter; effect(r.letter); r.letter = 0;
    if
    :: (r.held & BIT(r.last + 1)) -> r.how = REPLAY
    :: else -> resume()
    fi
  fi
}

inline outdate(who, k) {
  if
  :: flights[who].there && flights[who].key == k && flights[who].writes -> flights[who].stale = 1
  :: else
  fi
}

inline commit(who) {
  at = flights[who].key;
  if
  :: flights[who].writes ->
    /* Events that wait have rows of their own: only what has changed of them is written. */
    keys[at].held = (keys[at].held & (255 - flights[who].waited)) | flights[who].row.held;
    keys[at].last = flights[who].row.last; keys[at].effects = flights[who].row.effects;
    keys[at].disorder = flights[who].row.disorder; keys[at].how = flights[who].row.how;
    keys[at].letter = flights[who].row.letter;
    flights[who].writes = 0;
    outdate(0, at); outdate(1, at); outdate(2, at)
  :: else
  fi;
  if
  :: flights[who].version && who != OPERATOR ->
    flights[who].committed = 1; flights[who].writes = 0; flights[who].stale = 0; flights[who].waited = 0;
    flights[who].row.last = 0; flights[who].row.effects = 0; flights[who].row.disorder = 0;
    flights[who].row.held = 0; flights[who].row.how = 0; flights[who].row.letter = 0
  :: else -> forget(who)
  fi
}

inline finish(who) {
  if
  :: flights[who].committed ->
    /* The broker listens only to whoever has the partition now. */
    if
    :: flights[who].fence == fence -> settled[flights[who].key] = settled[flights[who].key] | BIT(flights[who].version)
    :: else
    fi;
    forget(who)
  :: else ->
    if
    :: flights[who].fence != fence && who != OPERATOR && !NO_FENCE -> forget(who)
    :: else ->
      if
      :: flights[who].writes && flights[who].stale && !NO_REVISION -> forget(who)
      :: else -> commit(who)
      fi
    fi
  fi
}

/* What must never be seen: effects out of order, what is settled and nowhere, a key that went on past its letter. */
#define IN_ORDER(k) (!keys[k].disorder)
#define KEPT(k, v) (!(settled[k] & BIT(v)) || v <= keys[k].effects || (keys[k].held & BIT(v)) || keys[k].letter == v)
#define STOPS(k) (keys[k].letter == 0 || keys[k].last < keys[k].letter)
/* What must not be left once everything is settled and nothing is under way. */
#define EVERY ((2 << VERSIONS) - 2)
#define IDLE (!flights[0].there && !flights[1].there && !flights[2].there)
#define SETTLED (settled[0] == EVERY && (KEYS == 1 || settled[1] == EVERY))
#define MORE(k) (keys[k].how == DUE || keys[k].how == REPLAY || keys[k].letter)
#define DONE(k) (keys[k].last >= VERSIONS && keys[k].held == 0 && keys[k].how == FLOWS)
#define RIGHT(k) (IN_ORDER(k) && KEPT(k, 1) && KEPT(k, 2) && KEPT(k, 3) && STOPS(k) \
  && (!(IDLE && SETTLED) || MORE(k) || DONE(k)))
#define CHECK assert(RIGHT(0) && (KEYS == 1 || RIGHT(1)))

#define DELIVER(w, k, v) \
  :: d_step { k < KEYS && v <= VERSIONS && owner == w && !flights[w].there \
       && (!(settled[k] & BIT(v)) || twice < TWICE) -> \
     if :: (settled[k] & BIT(v)) -> twice++ :: else fi; \
     if :: SETTLES_FIRST -> settled[k] = settled[k] | BIT(v) :: else fi; \
     decide(k, v); fly(w, k, v); CHECK }
#define WAKE(w, k) \
  :: d_step { k < KEYS && owner == w && !flights[w].there && keys[k].how == DUE -> \
     drain(k); fly(w, k, 0); CHECK }
#define EXPIRE(w, k) \
  :: d_step { k < KEYS && owner == w && !flights[w].there && waits < WAITS \
       && (keys[k].how == GAP || keys[k].how == REPLAY) -> \
     waits++; \
     if :: keys[k].how == GAP -> read(k); r.how = MISSING :: else -> drain(k) fi; \
     fly(w, k, 0); CHECK }
#define END(w) :: d_step { flights[w].there -> finish(w); CHECK }
#define CRASH(w) :: d_step { flights[w].there && crashes < CRASHES -> crashes++; forget(w); CHECK }
#define TAKEOVER(w) \
  :: d_step { owner != w && zombies < ZOMBIES -> \
     owner = w; fence++; zombies++; forget(w); CHECK }
#define THROUGH(k) \
  :: d_step { k < KEYS && !flights[OPERATOR].there && keys[k].letter && keys[k].how == PARKED -> \
     mended = 1; put_through(k); fly(OPERATOR, k, 0); CHECK }
#define DRAIN(k) \
  :: d_step { k < KEYS && !flights[OPERATOR].there && keys[k].how == REPLAY -> \
     drain(k); fly(OPERATOR, k, 0); CHECK }

#define WORKER(w) \
  DELIVER(w, 0, 1) DELIVER(w, 0, 2) DELIVER(w, 0, 3) DELIVER(w, 1, 1) DELIVER(w, 1, 2) DELIVER(w, 1, 3) \
  WAKE(w, 0) WAKE(w, 1) EXPIRE(w, 0) EXPIRE(w, 1) END(w) CRASH(w) TAKEOVER(w)

active proctype protocol() {
end:
  do
  WORKER(0)
  WORKER(1)
  END(OPERATOR)
  THROUGH(0) THROUGH(1)
  DRAIN(0) DRAIN(1)
  od
}
