"""`python -m stemma` is the command `stemma`."""

import sys

from stemma.cli.main import main

sys.exit(main())
