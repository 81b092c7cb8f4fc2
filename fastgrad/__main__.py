"""Run ``python -m fastgrad``: the same as the command ``fastgrad``."""

import sys

from fastgrad.command.cli import main

if __name__ == "__main__":
    sys.exit(main())
