"""What inorder tells those who run it: log lines, metrics, health."""
