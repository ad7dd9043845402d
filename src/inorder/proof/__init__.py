"""Proof: what happened is written down as a trace, and judged by small checkers that do not know how it came about."""
