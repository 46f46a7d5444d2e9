"""Numba's compiler as this room uses it, with a cache that cannot serve stale code.

Numba's own cache looks at the time stamp and size of one file; the kernels here take constants and functions from
others of this room, and an installed wheel has the same time stamps whatever its content. Here the stamp is the content
of every Python file of the room, so any edit compiles anew, and the same source starts warm wherever it stands. (The
room imports nothing of ours, hence not `doseloop.pkpd.jit`, which does the same for the rest.)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
from numba.core import caching

__all__ = ["cache_folder", "compiled", "content_stamp"]


def cache_folder() -> Path:
    """The folder of compiled code: ``$DOSELOOP_CACHE``, else ``doseloop`` in the user's cache folder."""
    own = os.environ.get("DOSELOOP_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "doseloop"


@lru_cache(maxsize=8)
def content_stamp(room: Path) -> str:
    """Hash of the names and texts of all Python files in a folder."""
    h = hashlib.sha256()
    for path in sorted(room.glob("*.py")):
        for part in (path.name.encode(), path.read_bytes()):
            h.update(hashlib.sha256(part).digest())
    return h.hexdigest()


class _Locator(caching._CacheLocator):
    def __init__(self, py_func: Any, py_file: str) -> None:
        self._stamp = content_stamp(Path(py_file).resolve().parent)
        self._name = f"{py_func.__module__}.{py_func.__qualname__}"

    def get_cache_path(self) -> str:
        return str(cache_folder() / "safety" / self._stamp[:16])

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        return hashlib.sha256(self._name.encode()).hexdigest()[:10]

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _Locator | None:
        self = cls(py_func, py_file)
        try:
            self.ensure_cache_path()
        except OSError:
            return None
        return self


class _Impl(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012


class _Cache(caching.FunctionCache):
    _impl_class = _Impl


def compiled(function: Callable[..., Any]) -> Any:
    """Compile: no Python objects, the GIL released, NumPy's rules for division, kept in the user's cache folder."""
    made = numba.njit(nogil=True, error_model="numpy")(function)
    if made is not function:  # it is where Numba is switched off
        try:
            made._cache = _Cache(function)
        except RuntimeError:
            return made  # no writable folder: compiled anew in each process, correct all the same
    return made
