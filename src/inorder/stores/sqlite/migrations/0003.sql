-- The edit that was in force when a plan was made. A later one is not what was planned.
ALTER TABLE inorder_plan_letters ADD COLUMN edit INTEGER;

-- How far letters have been copied to a topic that others watch.
CREATE TABLE inorder_exports (
  stream INTEGER NOT NULL,
  destination TEXT NOT NULL,
  letter INTEGER NOT NULL,
  PRIMARY KEY (stream, destination)
) STRICT, WITHOUT ROWID;
