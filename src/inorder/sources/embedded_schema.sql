-- Marks the file as an inorder broker ("inob"), so that another program's file is never written to.
PRAGMA application_id = 1768845154;

-- The schema's version, for later changes of it.
PRAGMA user_version = 1;

-- A topic is a name; its records are in its logs.
CREATE TABLE topic (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- One partition of a topic. Its records never change and never go.
CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    topic INTEGER NOT NULL REFERENCES topic (id),
    number INTEGER NOT NULL,
    next_offset INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, number)
);

-- The records of all logs. position = log << 40 | offset: the fastest key SQLite has, and one run per partition.
CREATE TABLE record (
    position INTEGER PRIMARY KEY,
    key BLOB,
    value BLOB,
    headers BLOB,
    timestamp_ms INTEGER NOT NULL
);

-- generation goes up whenever members, targets or partitions change, and when a partition becomes free.
CREATE TABLE consumer_group (
    id INTEGER PRIMARY KEY,
    topic INTEGER NOT NULL REFERENCES topic (id),
    name TEXT NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, name)
);

-- One session of one consumer. AUTOINCREMENT: numbers are never used again.
CREATE TABLE member (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer_group INTEGER NOT NULL REFERENCES consumer_group (id),
    expires_at REAL NOT NULL
);

-- Where a group stands in a partition, who owns it and who is to own it next.
CREATE TABLE share (
    consumer_group INTEGER NOT NULL REFERENCES consumer_group (id),
    log INTEGER NOT NULL REFERENCES log (id),
    owner INTEGER,
    target INTEGER,
    committed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (consumer_group, log)
) WITHOUT ROWID;
