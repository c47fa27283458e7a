# What would end in a traceback of Snakemake is checked before it reads the configuration.
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# This file's place, also if another workflow includes it or uses it as a module.
HERE = workflow.current_basedir.get_path_or_uri(secret_free=True)
if not Path(HERE).is_dir():
    raise WorkflowError(
        f"{HERE}: not a folder of this machine; clone the repository and name its Snakefile by path"
    )
# The library is used from the source tree: an edit needs no installation before the next run.
ROOT = Path(os.path.relpath(Path(HERE).parent.parent))
SOURCE = ROOT / "src"
sys.path.insert(0, str(SOURCE.resolve()))

try:
    from weightsharing.config import read
    from weightsharing.errors import UserError
    from weightsharing.workplace import faults, search_first, use_temporary_folder
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{error}: {sys.executable} reads the configuration with the packages of environment.yml; install "
        "them first, by make, or by conda env create -f environment.yml && conda activate weightsharing"
    )

# Where a path of the rules lies: a module may have a prefix.
PLACE = workflow.modifier.path_modifier.replace_prefix
# Then the folder is that of another workflow, with a configuration of its own.
IS_MODULE = not workflow.modifier.is_main_snakefile()
FOLDERS = [*map(PLACE, ("results", "logs", "benchmarks", "figures")), ".snakemake"]
if FAULTS := faults(Path.cwd(), FOLDERS):
    raise WorkflowError("\n".join(FAULTS))

use_temporary_folder()

CONFIG_FILE = Path("config.yaml")
if IS_MODULE or not CONFIG_FILE.exists():
    CONFIG_FILE = ROOT / CONFIG_FILE
try:
    SHIPPED = read(CONFIG_FILE)
except UserError as error:
    raise WorkflowError(f"bad configuration:\n{error}")
