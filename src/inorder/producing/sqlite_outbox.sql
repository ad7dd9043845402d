-- make_keys: where the next version of a key comes from; SQLite has one writer at a time
CREATE TABLE IF NOT EXISTS inorder_outbox_keys (
  outbox TEXT NOT NULL,
  key TEXT NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (outbox, key)
) STRICT, WITHOUT ROWID;

-- make_events: `number` is for fairness between keys only
CREATE TABLE IF NOT EXISTS inorder_outbox_events (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  outbox TEXT NOT NULL,
  key TEXT NOT NULL,
  version INTEGER NOT NULL,
  lane INTEGER NOT NULL,
  id TEXT NOT NULL,
  value BLOB NOT NULL,
  headers BLOB,
  added_at REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0),
  sent_at REAL,
  UNIQUE (outbox, key, version)
) STRICT;

-- make_unsent: all that a relay looks for
CREATE INDEX IF NOT EXISTS inorder_outbox_unsent ON inorder_outbox_events (outbox, number) WHERE sent_at IS NULL;

-- make_sent: what is kept for a while is found by its age
CREATE INDEX IF NOT EXISTS inorder_outbox_sent ON inorder_outbox_events (outbox, sent_at) WHERE sent_at IS NOT NULL;

-- make_relays: who is there, and until when it counts as alive
CREATE TABLE IF NOT EXISTS inorder_outbox_relays (
  outbox TEXT NOT NULL,
  relay TEXT NOT NULL,
  expires_at REAL NOT NULL,
  PRIMARY KEY (outbox, relay)
) STRICT, WITHOUT ROWID;

-- make_leases: a lane is a part of the keys; one relay has it
CREATE TABLE IF NOT EXISTS inorder_outbox_leases (
  outbox TEXT NOT NULL,
  lane INTEGER NOT NULL,
  relay TEXT NOT NULL,
  PRIMARY KEY (outbox, lane)
) STRICT, WITHOUT ROWID;

-- made: whether all of this is there
SELECT count(*) FROM sqlite_master WHERE name = 'inorder_outbox_leases';

-- version_next: takes the file's write lock to the end of the caller's transaction, so versions commit in their order
INSERT INTO inorder_outbox_keys (outbox, key, version) VALUES (?, ?, 1)
ON CONFLICT (outbox, key) DO UPDATE SET version = version + 1
RETURNING version;

-- event_add: in the caller's transaction, so it is there if and only if their own change is
INSERT INTO inorder_outbox_events (outbox, key, version, lane, id, value, headers) VALUES (?, ?, ?, ?, ?, ?, ?);

-- relay_alive: a heartbeat
INSERT INTO inorder_outbox_relays (outbox, relay, expires_at)
VALUES (?, ?, (julianday('now') - 2440587.5) * 86400.0 + ?)
ON CONFLICT (outbox, relay) DO UPDATE SET expires_at = excluded.expires_at;

-- relays_bury: whoever has not been heard of in time
DELETE FROM inorder_outbox_relays WHERE outbox = ? AND expires_at < (julianday('now') - 2440587.5) * 86400.0;

-- leases_bury: a lane whose relay is gone is free
DELETE FROM inorder_outbox_leases
WHERE outbox = ? AND relay NOT IN (
  SELECT relay FROM inorder_outbox_relays WHERE inorder_outbox_relays.outbox = inorder_outbox_leases.outbox
);

-- relays_count: among how many the lanes are shared
SELECT count(*) FROM inorder_outbox_relays WHERE outbox = ?;

-- leases: who has which lane
SELECT lane, relay FROM inorder_outbox_leases WHERE outbox = ?;

-- lease_take: only free ones are asked for, under the lock
INSERT INTO inorder_outbox_leases (outbox, lane, relay) VALUES (?, ?, ?);

-- lease_release: for a relay that has less than its share
DELETE FROM inorder_outbox_leases WHERE outbox = ? AND lane = ? AND relay = ?;

-- relay_leave: at the end of a relay, its lanes are free at once
DELETE FROM inorder_outbox_relays WHERE outbox = ? AND relay = ?;

-- unsent: by state and not by a cursor
SELECT number, key, version, id, value, headers FROM inorder_outbox_events
WHERE outbox = ? AND sent_at IS NULL AND lane IN (SELECT value FROM json_each(?))
  AND key NOT IN (SELECT value FROM json_each(?))
ORDER BY number LIMIT ?;

-- sent_remove: published, and not kept
DELETE FROM inorder_outbox_events WHERE outbox = ? AND number IN (SELECT value FROM json_each(?));

-- sent_mark: published, and kept for a while
UPDATE inorder_outbox_events SET sent_at = (julianday('now') - 2440587.5) * 86400.0
WHERE outbox = ? AND number IN (SELECT value FROM json_each(?));

-- sent_expire: kept for long enough
DELETE FROM inorder_outbox_events WHERE outbox = ? AND sent_at < (julianday('now') - 2440587.5) * 86400.0 - ?;

-- unsent_count: how much there is to do
SELECT count(*) FROM inorder_outbox_events WHERE outbox = ? AND sent_at IS NULL;

-- used: the rows of keys stay when all their events are published and gone
SELECT EXISTS (SELECT 1 FROM inorder_outbox_keys WHERE outbox = ?);
