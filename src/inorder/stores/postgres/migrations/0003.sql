-- The edit that was in force when a plan was made. A later one is not what was planned.
ALTER TABLE {schema}.plan_letters ADD COLUMN edit bigint;

-- How far letters have been copied to a topic that others watch.
CREATE TABLE {schema}.exports (
  stream integer NOT NULL,
  destination text NOT NULL,
  letter bigint NOT NULL,
  PRIMARY KEY (stream, destination)
);
