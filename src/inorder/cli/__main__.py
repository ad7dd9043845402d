"""`python -m inorder.cli`: the command, where its script is not on the path."""

import sys

from inorder.cli import main

sys.exit(main())
