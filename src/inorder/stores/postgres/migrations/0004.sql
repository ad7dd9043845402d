-- A worker's signs of life: when it last gave one, what it has (JSON), and how fast it goes. NULL: it ended in good order.
ALTER TABLE {schema}.tallies ADD COLUMN beat_at float8;
ALTER TABLE {schema}.tallies ADD COLUMN partitions text;
ALTER TABLE {schema}.tallies ADD COLUMN events_per_s float8;
