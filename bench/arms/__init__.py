"""The arms of the comparisons. Each runs in a process of its own: `python -m bench.arms NAME TASK`."""
