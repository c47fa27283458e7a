"""``python -m weightsharing``."""

import os
import sys

# Matrices of the theory have some tens of rows: threads of BLAS would cost more than they give. Set
# before NumPy is loaded; PyTorch takes its threads from --threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from weightsharing.cli import main

sys.exit(main())
