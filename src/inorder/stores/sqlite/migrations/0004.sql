-- A worker's signs of life: when it last gave one, what it has (JSON), and how fast it goes. NULL: it ended in good order.
ALTER TABLE inorder_tallies ADD COLUMN beat_at REAL;
ALTER TABLE inorder_tallies ADD COLUMN partitions TEXT;
ALTER TABLE inorder_tallies ADD COLUMN events_per_s REAL;
