-- settings: what decides whether a commit survives a crash, as a worker's connection would have it
SELECT name, setting FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name;

-- clock: asked between two looks at ours
SELECT extract(epoch FROM clock_timestamp())::float8;

-- made: a worker makes the tables when it first runs
SELECT to_regclass('{schema}.fences') IS NOT NULL;

-- orders: as the streams were declared
SELECT name, "order" FROM {schema}.streams;

-- partitions_seen: every owner raises the fence of each partition it gets
SELECT coalesce(max(partition) + 1, 0) FROM {schema}.fences WHERE topic = %s;

-- oldest: what an operator has not dealt with yet
SELECT min(at) FROM (
  SELECT min(first_at) AS at FROM {schema}.letters WHERE status = 'open'
  UNION ALL SELECT min(since) FROM {schema}.waiting WHERE why = 'parked'
) AS open;
