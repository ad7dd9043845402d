"""Where entities, held events, dead letters and fences are kept: one package a database. None imports another."""
