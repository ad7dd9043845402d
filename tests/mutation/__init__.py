"""Plants flaws in the code, one at a time, and sees whether the tests notice: `python -m tests.mutation`."""
