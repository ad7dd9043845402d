"""The rules of inorder, pure: no I/O, no clock, no threads, no randomness. Nothing here imports a room outside core."""
