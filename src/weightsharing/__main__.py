"""``python -m weightsharing``."""

import sys

from weightsharing.cli import main

sys.exit(main())
