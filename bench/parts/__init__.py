"""The parts of `make bench`: each compares some arms, and says what the numbers mean."""
