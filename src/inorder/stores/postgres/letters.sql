-- letter_close: only an open letter, so that two operators cannot both have dealt with it
UPDATE {schema}.letters SET status = %(status)s, outcome = %(outcome)s, note = %(note)s, resolved_at = %(at)s
WHERE stream = %(stream)s AND id = %(id)s AND status = 'open';

-- letter_failed: a replay did not get it through either
UPDATE {schema}.letters SET detail = %(detail)s, error = %(error)s, attempts = attempts + 1, last_at = %(at)s
WHERE stream = %(stream)s AND id = %(id)s AND status = 'open';

-- letter_keys: which other letters of a key are open
SELECT id, version, reason FROM {schema}.letters WHERE stream = %(stream)s AND key = %(key)s
  AND status = 'open' ORDER BY id;

-- letter_reasons: what failed, most first, for a first look
SELECT reason, CASE WHEN detail LIKE '%%: %%' THEN split_part(detail, ': ', 1) ELSE '' END AS kind,
  count(*), count(DISTINCT key), min(first_at), max(last_at), min(id), max(detail)
FROM {schema}.letters
WHERE stream = %(stream)s AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)
  AND (%(key)s::text IS NULL OR key = %(key)s) AND last_at >= %(since)s
GROUP BY reason, kind ORDER BY count(*) DESC, reason, kind;

-- letter_by_key: which keys failed, oldest first
SELECT key, count(*), min(version), min(first_at), max(last_at), min(id), min(topic), min(partition)
FROM {schema}.letters
WHERE stream = %(stream)s AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)
  AND (%(key)s::text IS NULL OR key = %(key)s) AND last_at >= %(since)s
GROUP BY CASE WHEN key IS NULL THEN topic || '/' || partition END, key ORDER BY min(first_at), min(id) LIMIT %(most)s;

-- held_versions: what waits behind a key, without the events themselves
SELECT count(*), min(version), max(version) FROM {schema}.held WHERE stream = %(stream)s AND key = %(key)s;

-- edit_insert: the letter's own payload stays
INSERT INTO {schema}.edits (stream, letter, at, actor, reason, value)
VALUES (%(stream)s, %(letter)s, %(at)s, %(actor)s, %(reason)s, %(value)s) RETURNING id;

-- edits: of one letter, the last one counts
SELECT id, at, actor, reason, value FROM {schema}.edits WHERE stream = %(stream)s AND letter = %(letter)s ORDER BY id;

-- edit_last: what is replayed instead of the payload received
SELECT id, value FROM {schema}.edits WHERE stream = %(stream)s AND letter = %(letter)s ORDER BY id DESC LIMIT 1;

-- plan_insert: frozen from here on
INSERT INTO {schema}.plans (stream, handler, code_version, made_at, actor, reason, selection, held, event_s)
VALUES (%(stream)s, %(handler)s, %(code_version)s, %(made_at)s, %(actor)s, %(reason)s, %(selection)s, %(held)s,
  %(event_s)s) RETURNING id;

-- plan_letter_insert: its place in the order of the replay
INSERT INTO {schema}.plan_letters (plan, place, letter, key, version, edit, forecast, forecast_detail)
VALUES (%(plan)s, %(place)s, %(letter)s, %(key)s, %(version)s, %(edit)s, %(forecast)s, %(forecast_detail)s);

-- plan_letter_done: what became of it
UPDATE {schema}.plan_letters SET result = %(result)s, detail = %(detail)s, tried_at = %(at)s
WHERE plan = %(plan)s AND letter = %(letter)s;

-- plans: newest first
SELECT id, handler, code_version, made_at, actor, reason, selection, held, event_s
FROM {schema}.plans WHERE stream = %(stream)s ORDER BY id DESC LIMIT %(most)s;

-- plan: one of them
SELECT id, handler, code_version, made_at, actor, reason, selection, held, event_s
FROM {schema}.plans WHERE stream = %(stream)s AND id = %(id)s;

-- plan_stream: a plan's number says which stream it belongs to
SELECT s.name FROM {schema}.plans AS p JOIN {schema}.streams AS s ON s.id = p.stream WHERE p.id = %(id)s;

-- letter_stream: and so does a letter's
SELECT s.name FROM {schema}.letters AS l JOIN {schema}.streams AS s ON s.id = l.stream WHERE l.id = %(id)s;

-- plan_letters: a page, in the order of the replay
SELECT place, letter, key, version, edit, forecast, forecast_detail, result, detail, tried_at
FROM {schema}.plan_letters WHERE plan = %(plan)s AND place > %(after)s ORDER BY place LIMIT %(most)s;

-- plan_results: how far it is
SELECT result, count(*) FROM {schema}.plan_letters WHERE plan = %(plan)s GROUP BY result;

-- plan_forecasts: what the rehearsal said
SELECT forecast, count(*) FROM {schema}.plan_letters WHERE plan = %(plan)s GROUP BY forecast;

-- letter_import: a dead letter that others wrote; once, however often it is read
INSERT INTO {schema}.letters (stream, tally, print, reason, detail, key, version, event_id, error, attempts,
  first_at, last_at, topic, partition, "offset", raw_key, raw_value, headers, timestamp_ms)
VALUES (%(stream)s, %(tally)s, %(print)s, %(reason)s, %(detail)s, %(key)s, %(version)s, %(event_id)s, %(error)s, %(attempts)s,
  %(first_at)s, %(last_at)s, %(topic)s, %(partition)s, %(offset)s, %(raw_key)s, %(raw_value)s, %(headers)s, %(timestamp_ms)s)
ON CONFLICT (stream, topic, partition, "offset", print) DO NOTHING RETURNING id;

-- letters_still: numbers are given out before they are committed; whoever holds a lower one is waited for
LOCK TABLE {schema}.letters IN SHARE MODE;

-- letter_last: up to here, all letters that there will ever be are there
SELECT coalesce(max(id), 0) FROM {schema}.letters WHERE stream = %(stream)s;

-- export_at: the last letter that was copied there
SELECT letter FROM {schema}.exports WHERE stream = %(stream)s AND destination = %(destination)s;

-- export_set: after the broker has confirmed the copies
INSERT INTO {schema}.exports (stream, destination, letter) VALUES (%(stream)s, %(destination)s, %(letter)s)
ON CONFLICT (stream, destination) DO UPDATE SET letter = excluded.letter;

-- audit_insert: in the transaction of what it tells of
INSERT INTO {schema}.audit (stream, at, actor, action, reason, plan, letter, key, version, outcome, detail)
VALUES (%(stream)s, %(at)s, %(actor)s, %(action)s, %(reason)s, %(plan)s, %(letter)s, %(key)s, %(version)s,
  %(outcome)s, %(detail)s);

-- audit: a page, oldest first
SELECT id, at, actor, action, reason, plan, letter, key, version, outcome, detail FROM {schema}.audit
WHERE stream = %(stream)s AND id > %(after)s AND (%(plan)s::bigint IS NULL OR plan = %(plan)s)
  AND (%(letter)s::bigint IS NULL OR letter = %(letter)s) AND (%(key)s::text IS NULL OR key = %(key)s)
  AND at >= %(since)s
ORDER BY id LIMIT %(most)s;

-- overdue: keys whose time has come and that nobody has woken; parked ones are an operator's business
SELECT key, why, version, since, due_at, attempts, reason, missing, home_topic, home_partition FROM {schema}.waiting
WHERE stream = %(stream)s AND due_at IS NOT NULL AND due_at <= %(now)s
  AND why <> 'parked' ORDER BY due_at LIMIT %(most)s;

-- fence_of: handlers are told of it, so that what they call can tell old from new
SELECT token FROM {schema}.fences WHERE stream = %(stream)s AND topic = %(topic)s AND partition = %(partition)s;

-- letters_open: how full the room for letters is, counted no further than the limit
SELECT count(*) FROM
  (SELECT 1 FROM {schema}.letters WHERE stream = %(stream)s AND status = 'open' LIMIT %(most)s) AS counted;

-- letters_crowded: keys that have as many open letters as one key may have
SELECT key FROM {schema}.letters WHERE stream = %(stream)s AND status = 'open' AND key IS NOT NULL
GROUP BY key HAVING count(*) >= %(most)s;

-- waiting_counts: why keys wait, and how many do
SELECT why, count(*) FROM {schema}.waiting WHERE stream = %(stream)s GROUP BY why ORDER BY why;

-- waiting_alone: keys that wait and have no open letter to be found by, those that have waited longest first
SELECT w.key, w.why, w.version, w.since, w.due_at, w.attempts, w.reason, w.missing, w.home_topic, w.home_partition
FROM {schema}.waiting AS w
WHERE w.stream = %(stream)s AND w.since >= %(since)s AND (%(key)s::text IS NULL OR w.key = %(key)s) AND NOT EXISTS
  (SELECT 1 FROM {schema}.letters AS l WHERE l.stream = w.stream AND l.key = w.key AND l.status = 'open')
ORDER BY w.why <> 'parked', w.since, w.key LIMIT %(most)s;

-- held_events: how full the room for events that wait is, counted no further than the limit
SELECT count(*) FROM (SELECT 1 FROM {schema}.held WHERE stream = %(stream)s LIMIT %(most)s) AS counted;

-- retried: keys that are to be tried again, whoever is to do it
SELECT key, why, version, since, due_at, attempts, reason, missing, home_topic, home_partition FROM {schema}.waiting
WHERE stream = %(stream)s AND due_at IS NOT NULL AND why = 'retry' ORDER BY due_at DESC LIMIT %(most)s;
