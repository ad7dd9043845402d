-- The embedded broker's statements, each under its name and one line of why.

-- find_topic: everything else goes by the topic's number.
SELECT id FROM topic WHERE name = ?;

-- list_topics: for the message that says which topics there are.
SELECT name FROM topic ORDER BY name;

-- add_topic: names are given once; a second creation is noticed by its caller.
INSERT INTO topic (name) VALUES (?);

-- add_log: one per partition.
INSERT INTO log (topic, number) VALUES (?, ?);

-- logs: read inside each append, so that a producer sees a topic's growth at once.
SELECT id, number, next_offset FROM log WHERE topic = ? ORDER BY number;

-- append: the position holds partition and offset in one integer, so that a partition is one run of the table.
INSERT INTO record (position, key, value, headers, timestamp_ms) VALUES (?, ?, ?, ?, ?);

-- advance: in the transaction of the append, so that no offset is given twice.
UPDATE log SET next_offset = ? WHERE id = ?;

-- read: one run of the table, from where this member stands.
SELECT position, key, value, headers, timestamp_ms FROM record
WHERE position >= ? AND position < ? ORDER BY position LIMIT ?;

-- find_group: a group belongs to one topic.
SELECT id FROM consumer_group WHERE topic = ? AND name = ?;

-- add_group: two members may come first at the same time; one row is enough.
INSERT OR IGNORE INTO consumer_group (topic, name) VALUES (?, ?);

-- generation: the one number that a member looks at to know that nothing changed.
SELECT generation FROM consumer_group WHERE id = ?;

-- bump: tells every member to look at its partitions again.
UPDATE consumer_group SET generation = generation + 1 WHERE id = ?;

-- bump_all: growth concerns every group of the topic.
UPDATE consumer_group SET generation = generation + 1 WHERE topic = ?;

-- join: the number is never used again, so a member that lost its session cannot pass for its successor.
INSERT INTO member (consumer_group, expires_at) VALUES (?, ?);

-- heartbeat: touches nothing once the others have given the member up.
UPDATE member SET expires_at = ? WHERE id = ?;

-- evict: any member may find that another's session is over.
DELETE FROM member WHERE consumer_group = ? AND expires_at < ?;

-- leave: a clean goodbye saves the others the wait for the session's end.
DELETE FROM member WHERE id = ?;

-- orphan: what belonged to members that are gone is free.
UPDATE share SET owner = NULL
WHERE consumer_group = ?1 AND owner IS NOT NULL AND owner NOT IN (SELECT id FROM member WHERE consumer_group = ?1);

-- adopt: partitions that the topic has and the group does not know yet, read from their beginning.
INSERT OR IGNORE INTO share (consumer_group, log) SELECT ?1, id FROM log WHERE topic = ?2;

-- members: in order of arrival.
SELECT id FROM member WHERE consumer_group = ? ORDER BY id;

-- shares: who has each partition, who is to have it, and where the group stands.
SELECT log, number, owner, target, committed FROM share JOIN log ON log.id = share.log
WHERE consumer_group = ? ORDER BY number;

-- aim: the owner sees from it that it is to let go, the target that it may take over once the owner did.
UPDATE share SET target = ? WHERE consumer_group = ? AND log = ?;

-- claim: only what nobody owns.
UPDATE share SET owner = ?1 WHERE consumer_group = ?2 AND log = ?3 AND owner IS NULL;

-- release: only what is still owned, in case the session ended while letting go.
UPDATE share SET owner = NULL WHERE consumer_group = ? AND log = ? AND owner = ?;

-- release_all: on leaving.
UPDATE share SET owner = NULL WHERE consumer_group = ? AND owner = ?;

-- commit: only its owner may, and never backwards.
UPDATE share SET committed = ?1 WHERE consumer_group = ?2 AND log = ?3 AND owner = ?4 AND committed < ?1;

-- committed: a group that never saw a partition stands at its beginning.
SELECT number, coalesce(committed, 0) FROM log
LEFT JOIN share ON share.log = log.id AND consumer_group = ?1 WHERE topic = ?2 ORDER BY number;

-- behind: one partition with records that the group has not committed is enough.
SELECT EXISTS (
    SELECT 1 FROM log LEFT JOIN share ON share.log = log.id AND consumer_group = ?1
    WHERE topic = ?2 AND next_offset > coalesce(committed, 0)
);
