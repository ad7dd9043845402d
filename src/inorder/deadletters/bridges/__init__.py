"""Bridges to the dead-letter topics of others. Nothing here replays anything."""
