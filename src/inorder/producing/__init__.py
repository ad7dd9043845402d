"""Where records go: one module per broker. Adapters never import each other."""
