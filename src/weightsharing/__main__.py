"""``python -m weightsharing``."""

import os
import sys

# Matrices of the theory have some tens of rows: threads of BLAS would cost more than they give, above all
# in several processes at once. Snakemake sets this variable to the threads of a job. Set before NumPy is
# loaded; PyTorch takes its threads from --threads.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from weightsharing.cli import main

sys.exit(main())
