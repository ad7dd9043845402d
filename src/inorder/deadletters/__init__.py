"""Dead letters: looked at, planned, rehearsed, replayed, edited, skipped, and all of it noted for ever."""
