"""The benchmarks' own modules, imported as their scripts do: by their bare names, from their folder."""

import contextlib
import importlib
import sys

from helpers_repository import ROOT

HOME = ROOT / "benchmarks"


@contextlib.contextmanager
def benchmarks_imported(*names):
    """Modules by their bare names, also those of peers/, for as long as the block lasts."""
    before, held = list(sys.path), set(sys.modules)
    sys.path[:0] = [str(HOME), str(HOME / "peers")]
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path[:] = before
        for name in set(sys.modules) - held:  # only the benchmarks' own: libraries cannot be loaded twice
            if str(HOME) in str(getattr(sys.modules[name], "__path__", "")) + str(
                sys.modules[name].__dict__.get("__file__")
            ):
                del sys.modules[name]
