# What would end in a traceback of Snakemake is checked before it reads the configuration.
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The library is used from the source tree: an edit needs no installation before the next run.
ROOT = Path(os.path.relpath(workflow.basedir))
SOURCE = ROOT / "src"
sys.path.insert(0, str(SOURCE.resolve()))

try:
    from weightsharing.config import read
    from weightsharing.errors import UserError
    from weightsharing.workplace import faults
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{error}: {sys.executable} reads the configuration with the packages of environment.yml; install "
        "them first, by make, or by conda env create -f environment.yml && conda activate weightsharing"
    )

if FAULTS := faults(Path.cwd(), ("results", "logs", "benchmarks", "figures", ".snakemake")):
    raise WorkflowError("\n".join(FAULTS))

try:
    if Path("config.yaml").exists():
        read(Path("config.yaml"))
except UserError as error:
    raise WorkflowError(f"bad configuration:\n{error}")
