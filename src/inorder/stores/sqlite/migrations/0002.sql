-- What became of a letter that was dealt with: applied, duplicate, stale, skipped.
ALTER TABLE inorder_letters ADD COLUMN outcome TEXT;

-- Payloads that operators wrote in place of a letter's own, which stays as it was received. The last one counts.
CREATE TABLE inorder_edits (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  stream INTEGER NOT NULL,
  letter INTEGER NOT NULL,
  at REAL NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  value BLOB NOT NULL
) STRICT;

CREATE INDEX inorder_edits_of ON inorder_edits (letter, id);

-- A replay plan: frozen when it is made.
CREATE TABLE inorder_plans (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  stream INTEGER NOT NULL,
  handler TEXT NOT NULL,
  code_version TEXT,
  made_at REAL NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  selection TEXT NOT NULL,
  held INTEGER NOT NULL,
  event_s REAL NOT NULL
) STRICT;

-- The letters of a plan in the order they are replayed, what the rehearsal said of each, and what became of it.
CREATE TABLE inorder_plan_letters (
  plan INTEGER NOT NULL,
  place INTEGER NOT NULL,
  letter INTEGER NOT NULL,
  key TEXT,
  version INTEGER,
  forecast TEXT,
  forecast_detail TEXT,
  result TEXT,
  detail TEXT,
  tried_at REAL,
  PRIMARY KEY (plan, place),
  UNIQUE (plan, letter)
) STRICT, WITHOUT ROWID;

-- Everything that an operator, or a replay on an operator's word, has done.
CREATE TABLE inorder_audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  stream INTEGER NOT NULL,
  at REAL NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  reason TEXT NOT NULL,
  plan INTEGER,
  letter INTEGER,
  key TEXT,
  version INTEGER,
  outcome TEXT,
  detail TEXT
) STRICT;

CREATE TRIGGER inorder_audit_is_final BEFORE UPDATE ON inorder_audit
BEGIN SELECT RAISE(ABORT, 'the audit is only ever added to'); END;

CREATE TRIGGER inorder_audit_is_kept BEFORE DELETE ON inorder_audit
BEGIN SELECT RAISE(ABORT, 'the audit is only ever added to'); END;

-- A worker asks now and then which keys wait that nobody wakes, such as those that a replay left behind.
CREATE INDEX inorder_waiting_overdue ON inorder_waiting (stream, due_at) WHERE due_at IS NOT NULL;
