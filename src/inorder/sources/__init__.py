"""Where records come from: one module per broker. Adapters never import each other."""
