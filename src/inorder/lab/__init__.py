"""The experiments, and the parts they are made of. Nothing else of inorder imports this room."""
