-- schema_found: a new database has none of our tables
SELECT 1 FROM pg_tables WHERE schemaname = %s AND tablename = 'schema_version';

-- schema_lock: several workers may start at the same moment
SELECT pg_advisory_xact_lock(hashtext('inorder schema ' || %s));

-- schema_exists: asked first, because making a schema needs a right that the user of an existing one may lack
SELECT 1 FROM pg_namespace WHERE nspname = %s;

-- schema_make: everything of inorder's is in it
CREATE SCHEMA IF NOT EXISTS {schema};

-- schema_create: which migrations have run
CREATE TABLE IF NOT EXISTS {schema}.schema_version (version integer PRIMARY KEY, at timestamptz DEFAULT now());

-- schema_version: the last of them
SELECT max(version) FROM {schema}.schema_version;

-- schema_insert: one row for each migration that has run
INSERT INTO {schema}.schema_version (version) VALUES (%s);

-- stream_find: what the stream was declared as, and its number
SELECT id, "order", baseline FROM {schema}.streams WHERE name = %s;

-- stream_insert: the first declaration is the one that counts
INSERT INTO {schema}.streams (name, "order", baseline) VALUES (%s, %s, %s) ON CONFLICT (name) DO NOTHING;

-- tally_insert: every run of a worker counts for itself
INSERT INTO {schema}.tallies (stream, worker) VALUES (%s, %s) RETURNING id;

-- beat: a worker lives; without partitions, it ends
UPDATE {schema}.tallies
SET beat_at = CASE WHEN %(partitions)s::text IS NOT NULL THEN extract(epoch FROM clock_timestamp()) END,
  partitions = %(partitions)s, events_per_s = %(pace)s
WHERE id = %(tally)s;

-- workers: those that have not ended, as far as they could say so, of the last day
SELECT id, worker, extract(epoch FROM clock_timestamp() - started_at)::float8,
  extract(epoch FROM clock_timestamp())::float8 - beat_at, partitions, events_per_s
FROM {schema}.tallies
WHERE stream = %(stream)s AND beat_at > extract(epoch FROM clock_timestamp()) - 86400.0 ORDER BY id;

-- fence_raise: waits for the old owner's open transactions, which have a share of the row
INSERT INTO {schema}.fences AS f (stream, topic, partition, token) VALUES (%s, %s, %s, 1)
ON CONFLICT (stream, topic, partition) DO UPDATE SET token = f.token + 1
RETURNING token;

-- fence_share: a queue has no owner, so nobody raises its fence
INSERT INTO {schema}.fences (stream, topic, partition, token) VALUES (%s, %s, %s, 1)
ON CONFLICT (stream, topic, partition) DO NOTHING;

-- fence_breakers: sessions of inorder's that keep a share of a fence and do nothing: their processes are frozen
SELECT DISTINCT a.application_name
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.relation = '{schema}.fences'::regclass AND l.mode = 'RowShareLock'
  AND a.application_name LIKE 'inorder-%%' AND a.state LIKE 'idle in transaction%%'
  AND a.state_change < clock_timestamp() - %s * interval '1 second';

-- fences: shared with other writers, but a new owner has to wait until this transaction is over
SELECT topic, partition, token FROM {schema}.fences
WHERE stream = %(stream)s AND (topic, partition) IN
  (SELECT * FROM unnest(%(topics)s::text[], %(partitions)s::bigint[]))
ORDER BY topic, partition FOR SHARE;

-- entities_write: an upsert, because it can only find its rows by the key: a join could be planned on old statistics and
-- read the whole table for each row. Expected revision 0 means that there must be no row, any other that there must be.
WITH written AS (
  INSERT INTO {schema}.entities AS e (stream, key, version, revision, ranges, recent, state, waits)
  SELECT %(stream)s, n.key, n.version, n.expected + 1, n.ranges, n.recent, n.state, coalesce(n.waits, false)
  FROM unnest(%(keys)s::text[], %(expected)s::bigint[], %(versions)s::bigint[], %(ranges)s::bytea[], %(recent)s::bytea[],
    %(states)s::bytea[], %(waits)s::boolean[]) AS n (key, expected, version, ranges, recent, state, waits)
  ON CONFLICT (stream, key) DO UPDATE
  SET version = excluded.version, revision = excluded.revision, waits = excluded.waits,
    ranges = excluded.ranges, recent = excluded.recent, state = excluded.state
  WHERE e.revision = excluded.revision - 1
  RETURNING (xmax = 0) AS new
)
SELECT count(*), count(*) FILTER (WHERE new) FROM written;

-- entity_revisions: after a refusal, to name the keys
SELECT key, revision FROM {schema}.entities WHERE stream = %(stream)s AND key = ANY (%(keys)s);

-- entities: with how they wait, in one statement, so that all of it is of one moment
SELECT e.key, e.version, e.revision, e.ranges, e.recent, e.state,
  w.why, w.version, w.since, w.due_at, w.attempts, w.reason, w.missing, w.home_topic, w.home_partition,
  h.versions, h.fingerprints
FROM {schema}.entities AS e
LEFT JOIN {schema}.waiting AS w ON e.waits AND w.stream = %(stream)s AND w.key = e.key
LEFT JOIN LATERAL (
  SELECT array_agg(version) AS versions, array_agg(fingerprint) AS fingerprints FROM {schema}.held
  WHERE e.waits AND stream = %(stream)s AND key = e.key
) AS h ON e.waits
WHERE e.stream = %(stream)s AND e.key = ANY (%(keys)s);

-- held_first: what becomes due first has the lowest version
SELECT version, event_id, fingerprint, outcome, receiver,
  topic, partition, "offset", raw_key, raw_value, headers, timestamp_ms
FROM {schema}.held WHERE stream = %(stream)s AND key = %(key)s ORDER BY version LIMIT %(most)s;

-- held_together: the same for several keys at once
SELECT n.key, h.* FROM unnest(%(keys)s::text[]) AS n (key) CROSS JOIN LATERAL (
  SELECT version, event_id, fingerprint, outcome, receiver,
    topic, partition, "offset", raw_key, raw_value, headers, timestamp_ms
  FROM {schema}.held WHERE stream = %(stream)s AND key = n.key ORDER BY version LIMIT %(most)s
) AS h ORDER BY n.key, h.version;

-- held_delete: the events took effect, or were given up on
DELETE FROM {schema}.held AS h USING unnest(%(keys)s::text[], %(versions)s::bigint[]) AS n (key, version)
WHERE h.stream = %(stream)s AND h.key = n.key AND h.version = n.version;

-- held_insert: the same event once more is no change; another event at this version counts as not written
INSERT INTO {schema}.held AS h (stream, key, version, event_id, fingerprint, outcome, receiver,
  topic, partition, "offset", raw_key, raw_value, headers, timestamp_ms)
SELECT %s, * FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bigint[], %s::text[], %s::bigint[],
  %s::text[], %s::bigint[], %s::bigint[], %s::bytea[], %s::bytea[], %s::bytea[], %s::bigint[])
ON CONFLICT (stream, key, version) DO UPDATE SET fingerprint = h.fingerprint WHERE h.fingerprint = excluded.fingerprint;

-- waiting_upsert: an entity waits for one thing at a time
INSERT INTO {schema}.waiting
  (stream, key, why, version, since, due_at, attempts, reason, missing, home_topic, home_partition)
SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::float8[], %s::float8[], %s::bigint[], %s::text[],
  %s::boolean[], %s::text[], %s::bigint[])
ON CONFLICT (stream, key) DO UPDATE SET why = excluded.why, version = excluded.version, since = excluded.since,
  due_at = excluded.due_at, attempts = excluded.attempts, reason = excluded.reason, missing = excluded.missing,
  home_topic = excluded.home_topic, home_partition = excluded.home_partition;

-- waiting_delete: the entities wait no longer
DELETE FROM {schema}.waiting WHERE stream = %(stream)s AND key = ANY (%(keys)s);

-- due: parked keys have no time and are left out
SELECT key, why, version, since, due_at, attempts, reason, missing, home_topic, home_partition FROM {schema}.waiting
WHERE stream = %(stream)s AND due_at IS NOT NULL AND (home_topic, home_partition) IN
  (SELECT * FROM unnest(%(topics)s::text[], %(partitions)s::bigint[]));

-- letter_upsert: a redelivery adds to the open letter (what is read by now, too), unless it parked its key or is dealt with
INSERT INTO {schema}.letters AS l (stream, tally, print, reason, detail, key, version, event_id, error, attempts,
  first_at, last_at, topic, partition, "offset", raw_key, raw_value, headers, timestamp_ms, code_version)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (stream, topic, partition, "offset", print) DO UPDATE
SET reason = excluded.reason, detail = excluded.detail, error = excluded.error,
  key = coalesce(excluded.key, l.key), version = coalesce(excluded.version, l.version),
  event_id = coalesce(excluded.event_id, l.event_id),
  attempts = l.attempts + excluded.attempts, last_at = excluded.last_at, code_version = excluded.code_version
WHERE l.status = 'open' AND (l.reason <> 'failed' OR excluded.reason = 'failed');

-- letter_resolve: only an open letter, so that two operators cannot both have dealt with it
UPDATE {schema}.letters
SET status = %(status)s, note = %(note)s, resolved_at = extract(epoch FROM clock_timestamp())
WHERE stream = %(stream)s AND id = %(id)s AND status = 'open';

-- counts_add: counts only ever add up
INSERT INTO {schema}.counts AS c (tally, backend, name, n)
SELECT n.tally, pg_backend_pid(), n.name, n.n FROM unnest(%s::bigint[], %s::text[], %s::bigint[]) AS n (tally, name, n)
ON CONFLICT (tally, backend, name) DO UPDATE SET n = c.n + excluded.n;

-- commit_mark: beside the commit itself, to be read when its answer is lost
INSERT INTO {schema}.commits (session, batch, at) VALUES (%s, %s, now())
ON CONFLICT (session) DO UPDATE SET batch = excluded.batch, at = excluded.at;

-- commit_read: whether it was committed
SELECT batch FROM {schema}.commits WHERE session = %s;

-- commits_forget: sessions that ended long ago
DELETE FROM {schema}.commits WHERE at < now() - interval '7 days';

-- counts_all: every run of the stream
SELECT name, sum(n)::bigint FROM {schema}.counts
WHERE tally IN (SELECT id FROM {schema}.tallies WHERE stream = %(stream)s) GROUP BY name ORDER BY name;

-- counts_of: some runs of the stream
SELECT name, sum(n)::bigint FROM {schema}.counts WHERE tally = ANY (%(tallies)s) GROUP BY name ORDER BY name;

-- streams: what a store has in it
SELECT name, "order", baseline FROM {schema}.streams ORDER BY name COLLATE "C";

-- states_of: some entities
SELECT key, version, state FROM {schema}.entities
WHERE stream = %(stream)s AND key = ANY (%(keys)s) ORDER BY key;

-- states_first: the first page of all entities
SELECT key, version, state FROM {schema}.entities WHERE stream = %(stream)s ORDER BY key LIMIT %(most)s;

-- states_next: the page after a key
SELECT key, version, state FROM {schema}.entities
WHERE stream = %(stream)s AND key > %(after)s ORDER BY key LIMIT %(most)s;

-- letters: a page after an id
SELECT id, tally, status, note, resolved_at, code_version, reason, detail, key, version, event_id, error, attempts,
  first_at, last_at, topic, partition, "offset", raw_key, raw_value, headers, timestamp_ms
FROM {schema}.letters
WHERE stream = %(stream)s AND id > %(after)s AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s) AND (%(key)s::text IS NULL OR key = %(key)s)
ORDER BY id LIMIT %(most)s;

-- letter: one of them
SELECT id, tally, status, note, resolved_at, code_version, reason, detail, key, version, event_id, error, attempts,
  first_at, last_at, topic, partition, "offset", raw_key, raw_value, headers, timestamp_ms
FROM {schema}.letters WHERE stream = %(stream)s AND id = %(id)s;

-- letter_counts: how much there is to do
SELECT status, count(*) FROM {schema}.letters WHERE stream = %(stream)s GROUP BY status ORDER BY status;

-- parked: a page after a key
SELECT key, why, version, since, due_at, attempts, reason, missing, home_topic, home_partition
FROM {schema}.waiting
WHERE stream = %(stream)s AND why = 'parked' AND key > %(after)s ORDER BY key LIMIT %(most)s;

-- parked_count: keys that stopped
SELECT count(*) FROM {schema}.waiting WHERE stream = %(stream)s AND why = 'parked';

-- waits: how many keys wait for what, and since when
SELECT why, count(*), min(since) FROM {schema}.waiting WHERE stream = %(stream)s GROUP BY why ORDER BY why;

-- longest_parked: the keys that have been stopped for longest
SELECT key, why, version, since, due_at, attempts, reason, missing, home_topic, home_partition
FROM {schema}.waiting WHERE stream = %(stream)s AND why = 'parked' ORDER BY since, key LIMIT %(most)s;

-- open_reasons: what there is to do, by reason
SELECT reason, count(*), count(DISTINCT key), min(first_at) FROM {schema}.letters
WHERE stream = %(stream)s AND status = 'open' GROUP BY reason ORDER BY reason;

-- held_most: behind which keys most events wait
SELECT key, count(*) AS events FROM {schema}.held
WHERE stream = %(stream)s GROUP BY key ORDER BY events DESC, key LIMIT %(most)s;

-- held_count: events that wait
SELECT count(*) FROM {schema}.held
WHERE stream = %(stream)s AND (%(key)s::text IS NULL OR key = %(key)s);
