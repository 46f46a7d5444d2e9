"""What a person typed at a terminal: times, units, a folder; and all that is wrong with it in one error."""

from __future__ import annotations

import contextlib
import math
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import DoseloopError
from .units import convert

__all__ = ["Problems", "plain", "read_time", "read_units", "words", "writable"]


def words(error: Exception) -> str:
    """An error as one message."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return str(error)


class Problems:
    """Collects what is wrong, so that one error lists it all.

    Attributes:
        found: a message each.
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        """Note an error of the input instead of raising it."""
        try:
            yield
        except (DoseloopError, OSError, UnicodeError) as error:
            self.found.append(words(error))

    def done(self) -> None:
        """Raise one DoseloopError if anything was found."""
        if self.found:
            raise DoseloopError(self.found)


def writable(name: str) -> Path:
    """The folder of that name, made and tried. Raises DoseloopError where nothing can be written."""
    path = Path(name)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise DoseloopError(f"cannot write to {path.absolute()}: {error.strerror}; choose a folder by --out") from error
    return path


def read_time(text: str | None, unit: str, option: str) -> float | None:
    """A time: a number in ``unit``, or a number with its own unit; None stays None. Raises DoseloopError."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*([a-zA-Z]*)\s*", text)
    if match is None or not math.isfinite(float(match.group(1))):
        raise DoseloopError(f"{option} {text!r} is not a time; write it as in {option} 48 or {option} '2 day'")
    return float(convert(float(match.group(1)), match.group(2) or unit, unit))


def read_units(text: str | None) -> dict[str, str]:
    """Units by column, ``TIME=h,AMT=mg``. Raises DoseloopError."""
    pairs = [p.partition("=") for p in (text or "").split(",") if p.strip()]
    bad = [
        f"--units {name!r} says no unit; write it as in --units TIME=h,AMT=mg" for name, sign, _ in pairs if not sign
    ]
    if bad:
        raise DoseloopError(bad)
    return {name.strip(): unit.strip() for name, _, unit in pairs}


def plain(value: Any) -> Any:
    """Values as JSON has them: keys as text, numbers that are none as null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
