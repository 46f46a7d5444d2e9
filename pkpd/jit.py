"""Numba with a cache that cannot serve stale code.

Numba's own cache looks at one file's time stamp; a driver that calls into another file would keep the callee's old
body. Here the stamp is the content of the file and of every file of ours it imports, and the folder is the user's
cache folder, so an installed copy starts warm whatever its time stamps.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
from numba.core import caching

from .objects import cache_folder

__all__ = ["jit"]


@lru_cache(maxsize=256)
def _relatives(path: Path) -> tuple[Path, ...]:
    """Files of ours that this file imports."""
    found: list[Path] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for candidate in [base, *(base / a.name for a in node.names)]:
                if candidate.with_suffix(".py").is_file():
                    found.append(candidate.with_suffix(".py"))
    return tuple(found)


@lru_cache(maxsize=256)
def content_stamp(file: str) -> str:
    """Hash of a source file and of all files of ours it imports, directly or not."""
    todo, seen = [Path(file).resolve()], set[Path]()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += _relatives(path)
    h = hashlib.sha256()
    for text in sorted(hashlib.sha256(p.read_bytes()).hexdigest() for p in seen):
        h.update(text.encode())
    return h.hexdigest()


class _ContentLocator(caching._CacheLocator):
    def __init__(self, py_func: Any, py_file: str) -> None:
        self._stamp = content_stamp(py_file)
        self._name = f"{py_func.__module__}.{py_func.__qualname__}"

    def get_cache_path(self) -> str:
        return str(cache_folder() / "drivers" / self._stamp[:16])

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        return hashlib.sha256(self._name.encode()).hexdigest()[:10]

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _ContentLocator | None:
        self = cls(py_func, py_file)
        try:
            self.ensure_cache_path()
        except OSError:
            return None
        return self


class _Impl(caching.CompileResultCacheImpl):
    _locator_classes = [_ContentLocator]  # noqa: RUF012


class _Cache(caching.FunctionCache):
    _impl_class = _Impl


def jit(function: Callable[..., Any]) -> Any:
    """Compile with Numba: no Python objects, the GIL released, NumPy's rules for division, cached by content."""
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    try:
        dispatcher._cache = _Cache(dispatcher.py_func)
    except RuntimeError:
        return dispatcher  # no writable folder: compiled anew in each process, correct all the same
    return dispatcher
