-- Small numbers stand for streams, so that a stream's name is stored once and not in every row.
CREATE TABLE {schema}.streams (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,
  "order" text NOT NULL,
  baseline bigint NOT NULL
);

-- The one table written for every event. Half of each page is kept free, so that a row's next version goes beside it
-- and no index is touched (HOT). `state` is bytea: stored as it comes, without a parser that could refuse \u0000.
CREATE TABLE {schema}.entities (
  stream integer NOT NULL,
  version bigint NOT NULL,
  revision bigint NOT NULL,
  waits boolean NOT NULL,
  key text COLLATE "C" NOT NULL,
  ranges bytea,
  recent bytea NOT NULL,
  state bytea,
  PRIMARY KEY (stream, key)
) WITH (fillfactor = 50);

-- What a person or a report reads.
CREATE VIEW {schema}.states AS
SELECT s.name AS stream, e.key, e.version, convert_from(e.state, 'UTF8')::json AS state
FROM {schema}.entities AS e JOIN {schema}.streams AS s ON s.id = e.stream;

-- Why an entity's events wait. Apart from the entities, because few of them wait at any time.
CREATE TABLE {schema}.waiting (
  stream integer NOT NULL,
  key text COLLATE "C" NOT NULL,
  why text NOT NULL,
  version bigint NOT NULL,
  since double precision NOT NULL,
  due_at double precision,
  attempts integer NOT NULL,
  reason text NOT NULL,
  missing boolean NOT NULL,
  home_topic text,
  home_partition integer,
  PRIMARY KEY (stream, key)
);

-- A new owner of a partition asks what is due there; parked keys, which may be many, are not in this index.
CREATE INDEX waiting_due ON {schema}.waiting (stream, home_topic, home_partition) WHERE due_at IS NOT NULL;

-- Events that wait, whole.
CREATE TABLE {schema}.held (
  stream integer NOT NULL,
  key text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  fingerprint bigint NOT NULL,
  event_id text NOT NULL,
  outcome text NOT NULL,
  receiver bigint NOT NULL,
  topic text NOT NULL,
  partition integer NOT NULL,
  "offset" bigint NOT NULL,
  timestamp_ms bigint,
  headers bytea,
  raw_key bytea,
  raw_value bytea,
  PRIMARY KEY (stream, key, version)
);

-- Dead letters, whole. A delivery has one letter, however often it comes: see `letter_upsert`.
CREATE TABLE {schema}.letters (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream integer NOT NULL,
  tally bigint NOT NULL,
  status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'resolved', 'skipped')),
  note text,
  resolved_at double precision,
  code_version text,
  print bigint NOT NULL,
  reason text NOT NULL,
  detail text NOT NULL,
  key text COLLATE "C",
  version bigint,
  event_id text,
  error text,
  attempts integer NOT NULL,
  first_at double precision NOT NULL,
  last_at double precision NOT NULL,
  topic text NOT NULL,
  partition integer NOT NULL,
  "offset" bigint NOT NULL,
  timestamp_ms bigint,
  headers bytea,
  raw_key bytea,
  raw_value bytea,
  UNIQUE (stream, topic, partition, "offset", print)
);

-- The open letters of one key are what a replay looks for.
CREATE INDEX letters_open ON {schema}.letters (stream, key) WHERE status = 'open';

-- Who may write for a partition: only the owner that raised the number last.
CREATE TABLE {schema}.fences (
  stream integer NOT NULL,
  topic text NOT NULL,
  partition integer NOT NULL,
  token bigint NOT NULL,
  PRIMARY KEY (stream, topic, partition)
) WITH (fillfactor = 50);

-- One row for each run of a worker: counts add up per run.
CREATE TABLE {schema}.tallies (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream integer NOT NULL,
  worker text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now()
);

-- One row for each connection as well (`backend`), so that transactions of one worker never wait for each other.
CREATE TABLE {schema}.counts (
  tally bigint NOT NULL,
  backend integer NOT NULL,
  name text NOT NULL,
  n bigint NOT NULL,
  PRIMARY KEY (tally, backend, name)
) WITH (fillfactor = 50);

-- The last transaction of each connection. When a connection is lost in the middle of a commit, this tells the outcome.
CREATE TABLE {schema}.commits (
  session bigint PRIMARY KEY,
  batch bigint NOT NULL,
  at timestamptz NOT NULL
) WITH (fillfactor = 50);
