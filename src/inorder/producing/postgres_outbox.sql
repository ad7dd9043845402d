-- schema_exists: asked first, because making a schema needs a right that the user of an existing one may lack
SELECT 1 FROM pg_namespace WHERE nspname = %s;

-- schema_make: a store in the same schema uses it too
CREATE SCHEMA {schema};

-- make_keys: the row of a key is what its writers queue up at, and where the next version comes from
CREATE TABLE IF NOT EXISTS {schema}.outbox_keys (
  outbox text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  PRIMARY KEY (outbox, key)
) WITH (fillfactor = 70);

-- make_events: `number` is for fairness between keys only: what is committed late has a low one, and is not skipped
CREATE TABLE IF NOT EXISTS {schema}.outbox_events (
  outbox text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  number bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) NOT NULL,
  lane integer NOT NULL,
  id text NOT NULL,
  value bytea NOT NULL,
  headers bytea,
  added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  sent_at timestamptz,
  PRIMARY KEY (outbox, key, version)
);

-- make_unsent: all that a relay looks for
CREATE INDEX IF NOT EXISTS outbox_events_unsent ON {schema}.outbox_events (outbox, number) WHERE sent_at IS NULL;

-- make_sent: what is kept for a while is found by its age
CREATE INDEX IF NOT EXISTS outbox_events_sent ON {schema}.outbox_events (outbox, sent_at) WHERE sent_at IS NOT NULL;

-- make_relays: who is there, and until when it counts as alive
CREATE TABLE IF NOT EXISTS {schema}.outbox_relays (
  outbox text NOT NULL,
  relay text NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (outbox, relay)
);

-- make_leases: a lane is a part of the keys; one relay has it
CREATE TABLE IF NOT EXISTS {schema}.outbox_leases (
  outbox text NOT NULL,
  lane integer NOT NULL,
  relay text NOT NULL,
  PRIMARY KEY (outbox, lane)
);

-- made: whether all of this is there
SELECT to_regclass('{schema}.outbox_leases') IS NOT NULL;

-- version_next: holds the key's row to the end of the caller's transaction, so versions commit in their order
INSERT INTO {schema}.outbox_keys AS k (outbox, key, version) VALUES (%s, %s, 1)
ON CONFLICT (outbox, key) DO UPDATE SET version = k.version + 1
RETURNING version;

-- event_add: in the caller's transaction, so it is there if and only if their own change is
INSERT INTO {schema}.outbox_events (outbox, key, version, lane, id, value, headers)
VALUES (%s, %s, %s, %s, %s, %s, %s);

-- relays_lock: one relay at a time looks at who has what
LOCK TABLE {schema}.outbox_relays IN SHARE ROW EXCLUSIVE MODE;

-- relay_alive: a heartbeat, by the database's clock
INSERT INTO {schema}.outbox_relays (outbox, relay, expires_at)
VALUES (%s, %s, clock_timestamp() + make_interval(secs => %s))
ON CONFLICT (outbox, relay) DO UPDATE SET expires_at = excluded.expires_at;

-- relays_bury: whoever has not been heard of in time
DELETE FROM {schema}.outbox_relays WHERE outbox = %s AND expires_at < clock_timestamp();

-- leases_bury: a lane whose relay is gone is free
DELETE FROM {schema}.outbox_leases AS l
WHERE l.outbox = %s AND NOT EXISTS (
  SELECT FROM {schema}.outbox_relays AS r WHERE r.outbox = l.outbox AND r.relay = l.relay
);

-- relays_count: among how many the lanes are shared
SELECT count(*) FROM {schema}.outbox_relays WHERE outbox = %s;

-- leases: who has which lane
SELECT lane, relay FROM {schema}.outbox_leases WHERE outbox = %s;

-- lease_take: only free ones are asked for, under the lock
INSERT INTO {schema}.outbox_leases (outbox, lane, relay) VALUES (%s, %s, %s);

-- lease_release: for a relay that has less than its share
DELETE FROM {schema}.outbox_leases WHERE outbox = %s AND lane = %s AND relay = %s;

-- relay_leave: at the end of a relay, its lanes are free at once
DELETE FROM {schema}.outbox_relays WHERE outbox = %s AND relay = %s;

-- unsent: by state and not by a cursor, so nothing is skipped that was committed late
SELECT number, key, version, id, value, headers FROM {schema}.outbox_events
WHERE outbox = %s AND sent_at IS NULL AND lane = ANY(%s) AND key <> ALL(%s)
ORDER BY number LIMIT %s;

-- sent_remove: published, and not kept
DELETE FROM {schema}.outbox_events WHERE outbox = %s AND number = ANY(%s);

-- sent_mark: published, and kept for a while
UPDATE {schema}.outbox_events SET sent_at = clock_timestamp() WHERE outbox = %s AND number = ANY(%s);

-- sent_expire: kept for long enough
DELETE FROM {schema}.outbox_events
WHERE outbox = %s AND sent_at < clock_timestamp() - make_interval(secs => %s);

-- unsent_count: how much there is to do
SELECT count(*) FROM {schema}.outbox_events WHERE outbox = %s AND sent_at IS NULL;

-- used: the rows of keys stay when all their events are published and gone
SELECT EXISTS (SELECT 1 FROM {schema}.outbox_keys WHERE outbox = %s);
