"""Where records go, and how they get there in order: sinks, the producer, the outbox and its relay.

One module per broker or database, and those never import each other.
"""
