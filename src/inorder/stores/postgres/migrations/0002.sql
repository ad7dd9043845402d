-- What became of a letter that was dealt with: applied, duplicate, stale, skipped.
ALTER TABLE {schema}.letters ADD COLUMN outcome text;

-- Payloads that operators wrote in place of a letter's own, which stays as it was received. The last one counts.
CREATE TABLE {schema}.edits (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream integer NOT NULL,
  letter bigint NOT NULL,
  at double precision NOT NULL,
  actor text NOT NULL,
  reason text NOT NULL,
  value bytea NOT NULL
);

CREATE INDEX edits_of ON {schema}.edits (letter, id);

-- A replay plan: frozen when it is made.
CREATE TABLE {schema}.plans (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream integer NOT NULL,
  handler text NOT NULL,
  code_version text,
  made_at double precision NOT NULL,
  actor text NOT NULL,
  reason text NOT NULL,
  selection text NOT NULL,
  held bigint NOT NULL,
  event_s double precision NOT NULL
);

-- The letters of a plan in the order they are replayed, what the rehearsal said of each, and what became of it.
CREATE TABLE {schema}.plan_letters (
  plan bigint NOT NULL,
  place bigint NOT NULL,
  letter bigint NOT NULL,
  key text COLLATE "C",
  version bigint,
  forecast text,
  forecast_detail text,
  result text,
  detail text,
  tried_at double precision,
  PRIMARY KEY (plan, place),
  UNIQUE (plan, letter)
);

-- Everything that an operator, or a replay on an operator's word, has done.
CREATE TABLE {schema}.audit (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream integer NOT NULL,
  at double precision NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  reason text NOT NULL,
  plan bigint,
  letter bigint,
  key text COLLATE "C",
  version bigint,
  outcome text,
  detail text
);

CREATE FUNCTION {schema}.audit_is_final() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'the audit is only ever added to'; END $$;

CREATE TRIGGER audit_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON {schema}.audit
FOR EACH STATEMENT EXECUTE FUNCTION {schema}.audit_is_final();

-- A worker asks now and then which keys wait that nobody wakes, such as those that a replay left behind.
CREATE INDEX waiting_overdue ON {schema}.waiting (stream, due_at) WHERE due_at IS NOT NULL;
