"""asv checks a commit out into `project`, in its environment: import the code from there."""

import os
import sys
from pathlib import Path

here = Path(__file__).parent.parent  # for `asv run --python=same`, which has no environment
environment = os.environ.get("ASV_ENV_DIR")
sys.path.insert(0, str(Path(environment, "project") if environment else here))
