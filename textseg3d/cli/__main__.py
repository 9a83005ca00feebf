"""`python -m textseg3d.cli`, the same as the `textseg3d` script."""

import sys

from textseg3d.cli.main import main

sys.exit(main())
