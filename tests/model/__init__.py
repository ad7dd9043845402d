"""A second description of the protocol, written without the core's code, and the core held against it."""
