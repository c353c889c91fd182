"""`python -m recast` is the command `recast`."""

import sys

from .cli import main

sys.exit(main())
