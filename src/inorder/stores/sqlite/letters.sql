-- letter_close: only an open letter, so that two operators cannot both have dealt with it
UPDATE inorder_letters SET status = :status, outcome = :outcome, note = :note, resolved_at = :at
WHERE stream = :stream AND id = :id AND status = 'open';

-- letter_failed: a replay did not get it through either
UPDATE inorder_letters SET detail = :detail, error = :error, attempts = attempts + 1, last_at = :at
WHERE stream = :stream AND id = :id AND status = 'open';

-- letter_keys: which other letters of a key are open
SELECT id, version, reason FROM inorder_letters WHERE stream = :stream AND key = :key AND status = 'open' ORDER BY id;

-- letter_reasons: what failed, most first, for a first look
SELECT reason, CASE WHEN instr(detail, ': ') > 0 THEN substr(detail, 1, instr(detail, ': ') - 1) ELSE '' END AS kind,
  count(*), count(DISTINCT key), min(first_at), max(last_at), min(id), max(detail)
FROM inorder_letters
WHERE stream = :stream AND (:status IS NULL OR status = :status) AND (:reason IS NULL OR reason = :reason)
  AND (:key IS NULL OR key = :key) AND last_at >= :since
GROUP BY reason, kind ORDER BY count(*) DESC, reason, kind;

-- letter_by_key: which keys failed, oldest first
SELECT key, count(*), min(version), min(first_at), max(last_at), min(id), min(topic), min(partition)
FROM inorder_letters
WHERE stream = :stream AND (:status IS NULL OR status = :status) AND (:reason IS NULL OR reason = :reason)
  AND (:key IS NULL OR key = :key) AND last_at >= :since
GROUP BY CASE WHEN key IS NULL THEN topic || '/' || partition END, key ORDER BY min(first_at), min(id) LIMIT :most;

-- held_versions: what waits behind a key, without the events themselves
SELECT count(*), min(version), max(version) FROM inorder_held WHERE stream = :stream AND key = :key;

-- edit_insert: the letter's own payload stays
INSERT INTO inorder_edits (stream, letter, at, actor, reason, value)
VALUES (:stream, :letter, :at, :actor, :reason, :value) RETURNING id;

-- edits: of one letter, the last one counts
SELECT id, at, actor, reason, value FROM inorder_edits WHERE stream = :stream AND letter = :letter ORDER BY id;

-- edit_last: what is replayed instead of the payload received
SELECT id, value FROM inorder_edits WHERE stream = :stream AND letter = :letter ORDER BY id DESC LIMIT 1;

-- plan_insert: frozen from here on
INSERT INTO inorder_plans (stream, handler, code_version, made_at, actor, reason, selection, held, event_s)
VALUES (:stream, :handler, :code_version, :made_at, :actor, :reason, :selection, :held, :event_s) RETURNING id;

-- plan_letter_insert: its place in the order of the replay
INSERT INTO inorder_plan_letters (plan, place, letter, key, version, edit, forecast, forecast_detail)
VALUES (:plan, :place, :letter, :key, :version, :edit, :forecast, :forecast_detail);

-- plan_letter_done: what became of it
UPDATE inorder_plan_letters SET result = :result, detail = :detail, tried_at = :at
WHERE plan = :plan AND letter = :letter;

-- plans: newest first
SELECT id, handler, code_version, made_at, actor, reason, selection, held, event_s
FROM inorder_plans WHERE stream = :stream ORDER BY id DESC LIMIT :most;

-- plan: one of them
SELECT id, handler, code_version, made_at, actor, reason, selection, held, event_s
FROM inorder_plans WHERE stream = :stream AND id = :id;

-- plan_stream: a plan's number says which stream it belongs to
SELECT s.name FROM inorder_plans AS p JOIN inorder_streams AS s ON s.id = p.stream WHERE p.id = :id;

-- letter_stream: and so does a letter's
SELECT s.name FROM inorder_letters AS l JOIN inorder_streams AS s ON s.id = l.stream WHERE l.id = :id;

-- plan_letters: a page, in the order of the replay
SELECT place, letter, key, version, edit, forecast, forecast_detail, result, detail, tried_at
FROM inorder_plan_letters WHERE plan = :plan AND place > :after ORDER BY place LIMIT :most;

-- plan_results: how far it is
SELECT result, count(*) FROM inorder_plan_letters WHERE plan = :plan GROUP BY result;

-- plan_forecasts: what the rehearsal said
SELECT forecast, count(*) FROM inorder_plan_letters WHERE plan = :plan GROUP BY forecast;

-- letter_import: a dead letter that others wrote; once, however often it is read
INSERT INTO inorder_letters (stream, tally, print, reason, detail, key, version, event_id, error, attempts,
  first_at, last_at, topic, partition, "offset", raw_key, raw_value, headers, timestamp_ms)
VALUES (:stream, :tally, :print, :reason, :detail, :key, :version, :event_id, :error, :attempts,
  :first_at, :last_at, :topic, :partition, :offset, :raw_key, :raw_value, :headers, :timestamp_ms)
ON CONFLICT (stream, topic, partition, "offset", print) DO NOTHING RETURNING id;

-- letter_last: up to here, all letters that there will ever be are there
SELECT coalesce(max(id), 0) FROM inorder_letters WHERE stream = :stream;

-- export_at: the last letter that was copied there
SELECT letter FROM inorder_exports WHERE stream = :stream AND destination = :destination;

-- export_set: after the broker has confirmed the copies
INSERT INTO inorder_exports (stream, destination, letter) VALUES (:stream, :destination, :letter)
ON CONFLICT (stream, destination) DO UPDATE SET letter = excluded.letter;

-- audit_insert: in the transaction of what it tells of
INSERT INTO inorder_audit (stream, at, actor, action, reason, plan, letter, key, version, outcome, detail)
VALUES (:stream, :at, :actor, :action, :reason, :plan, :letter, :key, :version, :outcome, :detail);

-- audit: a page, oldest first
SELECT id, at, actor, action, reason, plan, letter, key, version, outcome, detail FROM inorder_audit
WHERE stream = :stream AND id > :after AND (:plan IS NULL OR plan = :plan)
  AND (:letter IS NULL OR letter = :letter) AND (:key IS NULL OR key = :key) AND at >= :since
ORDER BY id LIMIT :most;

-- overdue: keys whose time has come and that nobody has woken; parked ones are an operator's business
SELECT key, why, version, since, due_at, attempts, reason, missing, home_topic, home_partition FROM inorder_waiting
WHERE stream = :stream AND due_at IS NOT NULL AND due_at <= :now AND why <> 'parked' ORDER BY due_at LIMIT :most;

-- fence_of: handlers are told of it, so that what they call can tell old from new
SELECT token FROM inorder_fences WHERE stream = :stream AND topic = :topic AND partition = :partition;

-- letters_open: how full the room for letters is, counted no further than the limit
SELECT count(*) FROM
  (SELECT 1 FROM inorder_letters WHERE stream = :stream AND status = 'open' LIMIT :most);

-- letters_crowded: keys that have as many open letters as one key may have
SELECT key FROM inorder_letters WHERE stream = :stream AND status = 'open' AND key IS NOT NULL
GROUP BY key HAVING count(*) >= :most;

-- waiting_counts: why keys wait, and how many do
SELECT why, count(*) FROM inorder_waiting WHERE stream = :stream GROUP BY why ORDER BY why;

-- waiting_alone: keys that wait and have no open letter to be found by, those that have waited longest first
SELECT w.key, w.why, w.version, w.since, w.due_at, w.attempts, w.reason, w.missing, w.home_topic, w.home_partition
FROM inorder_waiting AS w
WHERE w.stream = :stream AND w.since >= :since AND (:key IS NULL OR w.key = :key) AND NOT EXISTS
  (SELECT 1 FROM inorder_letters AS l WHERE l.stream = w.stream AND l.key = w.key AND l.status = 'open')
ORDER BY w.why <> 'parked', w.since, w.key LIMIT :most;

-- held_events: how full the room for events that wait is, counted no further than the limit
SELECT count(*) FROM (SELECT 1 FROM inorder_held WHERE stream = :stream LIMIT :most);

-- retried: keys that are to be tried again, whoever is to do it
SELECT key, why, version, since, due_at, attempts, reason, missing, home_topic, home_partition FROM inorder_waiting
WHERE stream = :stream AND due_at IS NOT NULL AND why = 'retry' ORDER BY due_at DESC LIMIT :most;
