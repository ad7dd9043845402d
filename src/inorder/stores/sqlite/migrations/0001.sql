-- Every name starts with inorder_, because the user's own tables live in the same file.

-- Small numbers stand for streams, so that a stream's name is stored once and not in every row.
CREATE TABLE inorder_streams (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  "order" TEXT NOT NULL,
  baseline INTEGER NOT NULL
) STRICT;

-- The one table written for every event. With rowid, because states may be large: rows without one live in the tree
-- that is searched by key, and every search and every split would carry them along.
--
-- What is replaced is not declared NOT NULL, here and in inorder_waiting. A statement for many rows that could fail at one
-- of them has to be able to undo the others: SQLite would copy every page first, most of them to a temporary file, which
-- takes as long as the writing. Ours can fail at a new row only, and then leave what they did (OR FAIL): all of the
-- transaction is undone.
CREATE TABLE inorder_entities (
  stream INTEGER NOT NULL,
  key TEXT NOT NULL,
  version INTEGER,
  revision INTEGER,
  waits INTEGER,
  ranges BLOB,
  recent BLOB,
  state BLOB,
  PRIMARY KEY (stream, key)
) STRICT;

-- What a person or a report reads: a fold's state as the JSON text it is.
CREATE VIEW inorder_states AS
SELECT s.name AS stream, e.key, e.version, CAST(e.state AS TEXT) AS state
FROM inorder_entities AS e JOIN inorder_streams AS s ON s.id = e.stream;

-- Why an entity's events wait. Apart from the entities, because few of them wait at any time.
CREATE TABLE inorder_waiting (
  stream INTEGER NOT NULL,
  key TEXT NOT NULL,
  why TEXT,
  version INTEGER,
  since REAL,
  due_at REAL,
  attempts INTEGER,
  reason TEXT,
  missing INTEGER,
  home_topic TEXT,
  home_partition INTEGER,
  PRIMARY KEY (stream, key)
) STRICT, WITHOUT ROWID;

-- A new owner of a partition asks what is due there; parked keys, which may be many, are not in this index.
CREATE INDEX inorder_waiting_due ON inorder_waiting (stream, home_topic, home_partition) WHERE due_at IS NOT NULL;

-- Events that wait, whole. With rowid, because the values are large; the small columns come first, to be read alone.
CREATE TABLE inorder_held (
  stream INTEGER NOT NULL,
  key TEXT NOT NULL,
  version INTEGER NOT NULL,
  fingerprint INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  outcome TEXT NOT NULL,
  receiver INTEGER NOT NULL,
  topic TEXT NOT NULL,
  partition INTEGER NOT NULL,
  "offset" INTEGER NOT NULL,
  timestamp_ms INTEGER,
  headers BLOB,
  raw_key BLOB,
  raw_value BLOB,
  PRIMARY KEY (stream, key, version)
) STRICT;

-- Dead letters, whole. A delivery has one letter, however often it comes: see `letter_upsert`.
CREATE TABLE inorder_letters (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  stream INTEGER NOT NULL,
  tally INTEGER NOT NULL,
  status TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'resolved', 'skipped')),
  note TEXT,
  resolved_at REAL,
  code_version TEXT,
  print INTEGER NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  key TEXT,
  version INTEGER,
  event_id TEXT,
  error TEXT,
  attempts INTEGER NOT NULL,
  first_at REAL NOT NULL,
  last_at REAL NOT NULL,
  topic TEXT NOT NULL,
  partition INTEGER NOT NULL,
  "offset" INTEGER NOT NULL,
  timestamp_ms INTEGER,
  headers BLOB,
  raw_key BLOB,
  raw_value BLOB,
  UNIQUE (stream, topic, partition, "offset", print)
) STRICT;

-- The open letters of one key are what a replay looks for.
CREATE INDEX inorder_letters_open ON inorder_letters (stream, key) WHERE status = 'open';

-- Who may write for a partition: only the owner that raised the number last.
CREATE TABLE inorder_fences (
  stream INTEGER NOT NULL,
  topic TEXT NOT NULL,
  partition INTEGER NOT NULL,
  token INTEGER NOT NULL,
  PRIMARY KEY (stream, topic, partition)
) STRICT, WITHOUT ROWID;

-- One row for each run of a worker: counts add up per run, and runs never write each other's rows at the same time.
CREATE TABLE inorder_tallies (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  stream INTEGER NOT NULL,
  worker TEXT NOT NULL,
  started_at REAL NOT NULL
) STRICT;

CREATE TABLE inorder_counts (
  tally INTEGER NOT NULL,
  name TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (tally, name)
) STRICT, WITHOUT ROWID;
