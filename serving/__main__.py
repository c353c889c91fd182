"""`python -m serving`: see `serving.launcher.cli`."""

import sys

from serving.launcher.cli import main

if __name__ == "__main__":
    sys.exit(main())
