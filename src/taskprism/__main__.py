"""``python -m taskprism``: the command, where scripts are not on the path."""

import sys

from taskprism.cli import main

if __name__ == "__main__":
    sys.exit(main())
