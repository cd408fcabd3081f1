"""`python -m lookalike` is the command `lookalike`."""

import sys

from lookalike.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
