"""Puts this folder on the path, so that tests can import the `helpers_*` modules under --import-mode=importlib."""

import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("MPLBACKEND", "Agg")

# The same cases on every run, and no deadline: the machine that runs them may be busy, or compiling.
settings.register_profile("doseloop", deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "doseloop"))
