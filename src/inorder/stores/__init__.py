"""Where entities, held events, dead letters and fences are kept. One package a database; none imports another."""
