"""Poll, decide, run handlers, commit, settle; shutdown; several processes."""
