-- journal_mode: kept in the file
PRAGMA journal_mode;

-- synchronous: kept by each connection
PRAGMA synchronous;

-- made: a worker makes the tables when it first runs
SELECT count(*) FROM sqlite_master WHERE name = 'inorder_streams';

-- orders: as the streams were declared
SELECT name, "order" FROM inorder_streams;

-- partitions_seen: every owner raises the fence of each partition it gets
SELECT coalesce(max(partition) + 1, 0) FROM inorder_fences WHERE topic = ?;

-- oldest: what an operator has not dealt with yet
SELECT min(at) FROM (
  SELECT min(first_at) AS at FROM inorder_letters WHERE status = 'open'
  UNION ALL SELECT min(since) FROM inorder_waiting WHERE why = 'parked'
);
