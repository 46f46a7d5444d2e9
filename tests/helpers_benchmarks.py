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
            told = vars(sys.modules[name])  # not getattr: some modules make what they are asked for
            if str(HOME) in f"{told.get('__path__', '')}{told.get('__file__')}":
                del sys.modules[name]
