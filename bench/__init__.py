"""Measures inorder against the limits of the same machine, in one run: `make bench`, and docs/performance.md."""
