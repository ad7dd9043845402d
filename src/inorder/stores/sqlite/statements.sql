-- schema_exists: a new file has none of our tables
SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'inorder_schema';

-- schema_create: a table rather than user_version, which belongs to the user of the file
CREATE TABLE IF NOT EXISTS inorder_schema (version INTEGER NOT NULL);

-- schema_version: which migrations have run
SELECT max(version) FROM inorder_schema;

-- schema_insert: one row for each migration that has run
INSERT INTO inorder_schema (version) VALUES (?);

-- stream_find: what the stream was declared as, and its number
SELECT id, "order", baseline FROM inorder_streams WHERE name = ?;

-- stream_insert: the first declaration is the one that counts
INSERT INTO inorder_streams (name, "order", baseline) VALUES (?, ?, ?);

-- tally_insert: every run of a worker counts for itself
INSERT INTO inorder_tallies (stream, worker, started_at)
VALUES (?, ?, (julianday('now') - 2440587.5) * 86400.0)
RETURNING id;

-- beat: a worker lives; without partitions, it ends
UPDATE inorder_tallies
SET beat_at = CASE WHEN :partitions IS NOT NULL THEN (julianday('now') - 2440587.5) * 86400.0 END,
  partitions = :partitions, events_per_s = :pace WHERE id = :tally;

-- workers: those that have not ended, as far as they could say so, of the last day
SELECT id, worker, (julianday('now') - 2440587.5) * 86400.0 - started_at,
  (julianday('now') - 2440587.5) * 86400.0 - beat_at, partitions, events_per_s
FROM inorder_tallies
WHERE stream = :stream AND beat_at > (julianday('now') - 2440587.5) * 86400.0 - 86400.0 ORDER BY id;

-- fence_raise: from here on, earlier owners are refused
INSERT INTO inorder_fences (stream, topic, partition, token) VALUES (?, ?, ?, 1)
ON CONFLICT (stream, topic, partition) DO UPDATE SET token = token + 1
RETURNING token;

-- fence_share: a queue has no owner, so nobody raises its fence
INSERT INTO inorder_fences (stream, topic, partition, token) VALUES (?, ?, ?, 1)
ON CONFLICT (stream, topic, partition) DO NOTHING;

-- fences: all of the stream, compared by the caller: they are few
SELECT topic, partition, token FROM inorder_fences WHERE stream = ?;

-- entities_write: only the revision that was read is replaced, 0 being no row; what is not counted was changed by others
INSERT OR FAIL INTO inorder_entities AS e (stream, key, revision, version, ranges, recent, state, waits)
VALUES (?1, ?, ? + 1, ?, ?, ?, ?, ?)
ON CONFLICT (stream, key) DO UPDATE SET version = excluded.version, revision = excluded.revision,
  ranges = excluded.ranges, recent = excluded.recent, state = excluded.state, waits = excluded.waits
WHERE e.revision = excluded.revision - 1;

-- entities_last: each new row comes after it, so it tells how many the statement above put in
SELECT coalesce(max(rowid), 0) FROM inorder_entities;

-- entity_revisions: after a refusal, to name the keys
SELECT key, revision FROM inorder_entities WHERE stream = :stream AND key IN (SELECT value FROM json_each(:keys));

-- entities: one lookup for each key, in one statement whatever their number
SELECT e.key, e.version, e.revision, e.ranges, e.recent, e.state, e.waits
FROM json_each(:keys) AS wanted CROSS JOIN inorder_entities AS e ON e.stream = :stream AND e.key = wanted.value;

-- waiting_of: only asked for entities that wait
SELECT w.key, w.why, w.version, w.since, w.due_at, w.attempts, w.reason, w.missing, w.home_topic, w.home_partition
FROM json_each(:keys) AS wanted CROSS JOIN inorder_waiting AS w ON w.stream = :stream AND w.key = wanted.value;

-- held_of: which versions wait, without the events themselves
SELECT h.key, h.version, h.fingerprint
FROM json_each(:keys) AS wanted CROSS JOIN inorder_held AS h ON h.stream = :stream AND h.key = wanted.value;

-- held_first: what becomes due first has the lowest version
SELECT version, event_id, fingerprint, outcome, receiver,
  topic, partition, "offset", raw_key, raw_value, headers, timestamp_ms
FROM inorder_held WHERE stream = :stream AND key = :key ORDER BY version LIMIT :most;

-- held_together: the same for several keys at once
SELECT h.key, h.version, h.event_id, h.fingerprint, h.outcome, h.receiver,
  h.topic, h.partition, h."offset", h.raw_key, h.raw_value, h.headers, h.timestamp_ms
FROM json_each(:keys) AS wanted CROSS JOIN inorder_held AS h ON h.stream = :stream AND h.key = wanted.value
WHERE h.version <= (SELECT max(version) FROM (
  SELECT version FROM inorder_held WHERE stream = :stream AND key = wanted.value ORDER BY version LIMIT :most
)) ORDER BY h.key, h.version;

-- held_delete: the event took effect, or was given up on
DELETE FROM inorder_held WHERE rowid IN (SELECT h.rowid FROM (VALUES (?1, ?, ?)) AS gone
CROSS JOIN inorder_held AS h ON h.stream = gone.column1 AND h.key = gone.column2 AND h.version = gone.column3);

-- held_insert: the same event again is no change (of what may be NULL); another event at this version is not written
INSERT OR FAIL INTO inorder_held (stream, key, version, event_id, fingerprint, outcome, receiver,
  topic, partition, "offset", raw_key, raw_value, headers, timestamp_ms)
VALUES (?1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (stream, key, version) DO UPDATE SET headers = headers WHERE fingerprint = excluded.fingerprint;

-- waiting_upsert: an entity waits for one thing at a time
INSERT OR FAIL INTO inorder_waiting
  (stream, key, why, version, since, due_at, attempts, reason, missing, home_topic, home_partition)
VALUES (?1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (stream, key) DO UPDATE SET why = excluded.why, version = excluded.version, since = excluded.since,
  due_at = excluded.due_at, attempts = excluded.attempts, reason = excluded.reason, missing = excluded.missing,
  home_topic = excluded.home_topic, home_partition = excluded.home_partition;

-- waiting_delete: the entity waits no longer
DELETE FROM inorder_waiting WHERE stream = ?1 AND key IN (SELECT column2 FROM (VALUES (?1, ?)));

-- due: parked keys have no time and are left out
SELECT key, why, version, since, due_at, attempts, reason, missing, home_topic, home_partition FROM inorder_waiting
WHERE stream = :stream AND home_topic = :topic AND home_partition = :partition AND due_at IS NOT NULL;

-- letter_upsert: a redelivery adds to the open letter (what is read by now, too), unless it parked its key or is dealt with
INSERT INTO inorder_letters (stream, tally, print, reason, detail, key, version, event_id, error, attempts,
  first_at, last_at, topic, partition, "offset", raw_key, raw_value, headers, timestamp_ms, code_version)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (stream, topic, partition, "offset", print) DO UPDATE
SET reason = excluded.reason, detail = excluded.detail, error = excluded.error,
  key = coalesce(excluded.key, key), version = coalesce(excluded.version, version),
  event_id = coalesce(excluded.event_id, event_id),
  attempts = attempts + excluded.attempts, last_at = excluded.last_at, code_version = excluded.code_version
WHERE status = 'open' AND (reason <> 'failed' OR excluded.reason = 'failed');

-- letter_resolve: only an open letter, so that two operators cannot both have dealt with it
UPDATE inorder_letters
SET status = :status, note = :note, resolved_at = (julianday('now') - 2440587.5) * 86400.0
WHERE stream = :stream AND id = :id AND status = 'open';

-- count_add: counts only ever add up
INSERT INTO inorder_counts (tally, name, n) VALUES (?, ?, ?)
ON CONFLICT (tally, name) DO UPDATE SET n = n + excluded.n;

-- counts_all: every run of the stream
SELECT name, sum(n) FROM inorder_counts
WHERE tally IN (SELECT id FROM inorder_tallies WHERE stream = :stream) GROUP BY name ORDER BY name;

-- counts_of: some runs of the stream
SELECT name, sum(n) FROM inorder_counts
WHERE tally IN (SELECT value FROM json_each(:tallies)) GROUP BY name ORDER BY name;

-- streams: what a store has in it
SELECT name, "order", baseline FROM inorder_streams ORDER BY name;

-- states_of: some entities
SELECT key, version, state FROM inorder_entities
WHERE stream = :stream AND key IN (SELECT value FROM json_each(:keys)) ORDER BY key;

-- states_first: the first page of all entities
SELECT key, version, state FROM inorder_entities WHERE stream = :stream ORDER BY key LIMIT :most;

-- states_next: the page after a key
SELECT key, version, state FROM inorder_entities
WHERE stream = :stream AND key > :after ORDER BY key LIMIT :most;

-- letters: a page after an id
SELECT id, tally, status, note, resolved_at, code_version, reason, detail, key, version, event_id, error, attempts,
  first_at, last_at, topic, partition, "offset", raw_key, raw_value, headers, timestamp_ms
FROM inorder_letters
WHERE stream = :stream AND id > :after AND (:status IS NULL OR status = :status)
  AND (:reason IS NULL OR reason = :reason) AND (:key IS NULL OR key = :key)
ORDER BY id LIMIT :most;

-- letter: one of them
SELECT id, tally, status, note, resolved_at, code_version, reason, detail, key, version, event_id, error, attempts,
  first_at, last_at, topic, partition, "offset", raw_key, raw_value, headers, timestamp_ms
FROM inorder_letters WHERE stream = :stream AND id = :id;

-- letter_counts: how much there is to do
SELECT status, count(*) FROM inorder_letters WHERE stream = :stream GROUP BY status ORDER BY status;

-- parked: a page after a key
SELECT key, why, version, since, due_at, attempts, reason, missing, home_topic, home_partition
FROM inorder_waiting WHERE stream = :stream AND why = 'parked' AND key > :after ORDER BY key LIMIT :most;

-- parked_count: keys that stopped
SELECT count(*) FROM inorder_waiting WHERE stream = :stream AND why = 'parked';

-- waits: how many keys wait for what, and since when
SELECT why, count(*), min(since) FROM inorder_waiting WHERE stream = :stream GROUP BY why ORDER BY why;

-- longest_parked: the keys that have been stopped for longest
SELECT key, why, version, since, due_at, attempts, reason, missing, home_topic, home_partition
FROM inorder_waiting WHERE stream = :stream AND why = 'parked' ORDER BY since, key LIMIT :most;

-- open_reasons: what there is to do, by reason
SELECT reason, count(*), count(DISTINCT key), min(first_at) FROM inorder_letters
WHERE stream = :stream AND status = 'open' GROUP BY reason ORDER BY reason;

-- held_most: behind which keys most events wait
SELECT key, count(*) AS events FROM inorder_held WHERE stream = :stream GROUP BY key ORDER BY events DESC, key LIMIT :most;

-- held_count: events that wait
SELECT count(*) FROM inorder_held WHERE stream = :stream AND (:key IS NULL OR key = :key);
