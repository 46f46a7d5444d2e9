"""The errors doseloop raises, one small family::

    DoseloopError               every error of ours; ``problems`` lists all that was wrong
    ├── ModelError              a mistake in a model's text: message, file, line, function
    ├── RegimenError            doses that cannot be given as written
    ├── RecordError             a patient's data that cannot be read: row, column, what to do
    ├── UnitError               an unknown unit, or one of the wrong dimension
    └── SolverError             an integration or optimisation that did not end well

Each lists every problem at once, so that a user mends a file or a regimen in one go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["DoseloopError", "ModelError", "Problem", "RecordError", "RegimenError", "SolverError", "UnitError"]

# A page of problems is read; a thousand are not.
_PRINTED = 50


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a patient's data.

    Attributes:
        row: line of the file, 1-based, the header's line included (for a DataFrame: as if written to CSV); None when
            the problem is of a whole column or of the whole file.
        column: name of the column, or None.
        message: what is wrong.
        advice: what to do about it; may be empty.
    """

    row: int | None
    column: str | None
    message: str
    advice: str = ""

    def __str__(self) -> str:
        where = [f"line {self.row}"] if self.row is not None else []
        where += [f"column {self.column}"] if self.column is not None else []
        text = f"{', '.join(where)}: {self.message}" if where else self.message
        return f"{text}; {self.advice}" if self.advice else text


class DoseloopError(Exception):
    """Base of every error of ours.

    Args:
        problems: one sentence each; an iterable of sentences is taken apart.

    Attributes:
        problems: every problem found. ``str(error)`` prints each on its own line, the first 50 of them.
        total: how many problems there were; at least ``len(problems)``.
    """

    problems: tuple[str | Problem, ...]
    total: int

    def __init__(self, *problems: str | Iterable[str]) -> None:
        flat: list[str] = []
        for p in problems:
            flat += [p] if isinstance(p, str) else [str(q) for q in p]
        self.problems = tuple(flat)
        self.total = len(flat)
        super().__init__(*flat)

    def __str__(self) -> str:
        lines = [str(p) for p in self.problems[:_PRINTED]]
        if self.total > len(lines):
            lines.append(f"… and {self.total - len(lines)} more")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process boundaries; Exception's own pickling calls __init__ with args alone.
        return (_rebuild, (type(self), self.args, dict(self.__dict__)))


def _rebuild(kind: type[DoseloopError], args: tuple[Any, ...], state: dict[str, Any]) -> DoseloopError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class ModelError(DoseloopError):
    """A mistake in a model's text.

    Args:
        message: the problem, or an iterable of problems.
        file: the model's file.
        line: line in that file, 1-based.
        function: name of the function of the model (``rhs``, ``individual``, …).
    """

    def __init__(
        self,
        message: str | Iterable[str],
        file: str | None = None,
        line: int | None = None,
        function: str | None = None,
    ) -> None:
        super().__init__(message)
        self.file = file
        self.line = line
        self.function = function

    @property
    def message(self) -> str:
        """The problems alone, without the place."""
        return super().__str__()

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line is not None else (self.file or "")
        if self.function:
            place = f"{place}, in {self.function}" if place else f"in {self.function}"
        return f"{place}: {self.message}" if place else self.message


class RegimenError(DoseloopError):
    """Doses that cannot be given as written; lists every problem of the dose or regimen."""


class UnitError(DoseloopError):
    """A unit that is not known, or that has another dimension than the one wanted."""


class SolverError(DoseloopError):
    """An integration or an optimisation that did not end well."""


class RecordError(DoseloopError):
    """A patient's data that cannot be read; lists every problem with its row, column and what to do.

    Args:
        problems: one `Problem`, or a sentence, or an iterable of either.
        source: name of the file or table, printed in front.
        total: how many problems there were, when not all of them were kept.
    """

    problems: tuple[Problem, ...]

    def __init__(
        self, problems: str | Problem | Iterable[str | Problem], source: str = "", total: int | None = None
    ) -> None:
        given = [problems] if isinstance(problems, str | Problem) else list(problems)
        listed = tuple(p if isinstance(p, Problem) else Problem(None, None, p) for p in given)
        super().__init__([str(p) for p in listed])
        self.problems = listed
        self.source = source
        self.total = max(len(listed), total or 0)

    def __str__(self) -> str:
        text = super().__str__()
        if not self.source:
            return text
        return f"{self.source}: {self.total} problem{'' if self.total == 1 else 's'}\n{text}"
