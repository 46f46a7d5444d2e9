"""The small named bundles a model's functions read: ``x.central``, ``p.cl``, ``cov.weight``, ``eta.v``."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any


class UnknownField(AttributeError):  # noqa: N818 (it says what it is)
    """A model asked for a name that is not declared; the message says which names are."""


class Fields:
    """Read-only names over values; an unknown name is an error that offers the nearest known one."""

    __slots__ = ("_kind", "_values")

    def __init__(self, kind: str, values: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_kind", kind)
        object.__setattr__(self, "_values", dict(values))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        values = object.__getattribute__(self, "_values")
        if name in values:
            return values[name]
        near = difflib.get_close_matches(name, values, n=1)
        known = ", ".join(values) or "none"
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UnknownField(f"no {self._kind} is named '{name}': {hint}declared: {known}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a model's function may not change its {self._kind} ('{name}')")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __repr__(self) -> str:
        return f"Fields({self._kind}: {self._values})"
