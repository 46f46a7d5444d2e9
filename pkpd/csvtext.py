"""From a file, a buffer or a DataFrame to a table of cells with line numbers; knows nothing of what the cells mean."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .errors import Problem, RecordError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["KEPT", "Source", "Table", "load"]

Source: TypeAlias = "str | os.PathLike[str] | bytes | IO[str] | IO[bytes] | pd.DataFrame"
"""What a table is read from: a path, bytes, an open text or binary file, or a DataFrame."""

KEPT = 100
"""Problems of one kind that are listed with their row; the rest are counted."""

_LARGEST = 200_000_000
_MOST_COLUMNS = 1000
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its first two bytes are the same
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Table:
    """Cells by column.

    Attributes:
        source: name for messages.
        names: header cells as written.
        columns: one a name, each of equal length: text cells, or float64 with NaN for missing (from a DataFrame).
        lines: line number of each row, 1-based, header included.
        separator: what stood between the cells; empty for a DataFrame.
        problems: rows that do not fit the header; they are not among the columns.
        total: number of such rows.
    """

    source: str
    names: list[str]
    columns: list[Sequence[str] | NDArray[np.float64]]
    lines: NDArray[np.int64]
    separator: str = ""
    problems: tuple[Problem, ...] = ()
    total: int = 0


def load(source: Any, *, encoding: str | None = None) -> Table:
    """Read a table of cells.

    Text is UTF-8 (with or without BOM), UTF-16 or UTF-32 with BOM, or whatever ``encoding`` declares; cells are
    separated by comma, semicolon or tab, found from the header, and may be quoted.

    Raises:
        RecordError: unreadable, empty, not text, not a table.
    """
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return _from_frame(source)
    raw, name = _fetch(source)
    text = raw if isinstance(raw, str) else _decode(raw, encoding, name)
    return _split(text.removeprefix("\ufeff"), name)


def _fetch(source: Any) -> tuple[str | bytes, str]:
    if isinstance(source, bytes | bytearray | memoryview):
        raw: Any = bytes(source)
        name = "data"
    elif isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        if isinstance(name, str) and "\n" in name:
            raise RecordError("a text was given where a path is expected; wrap it: io.StringIO(text)")
        try:
            with open(name, "rb") as file:
                raw = file.read(_LARGEST + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RecordError(f"the file cannot be opened: {reason}", source=str(name)) from error
    elif hasattr(source, "read"):
        name = str(getattr(source, "name", "data"))
        try:
            raw = source.read(_LARGEST + 1)
        except UnicodeDecodeError as error:
            raise RecordError("the text cannot be decoded; open the file in binary mode", source=name) from error
        except (OSError, ValueError) as error:
            raise RecordError(f"the buffer cannot be read: {error}", source=name) from error
    else:
        raise RecordError(f"cannot read a {type(source).__name__}; give a path, bytes, an open file or a DataFrame")
    if not isinstance(raw, str | bytes):
        raise RecordError(f"the buffer gives {type(raw).__name__}, not text or bytes", source=str(name))
    if len(raw) > _LARGEST:
        raise RecordError(f"the file is larger than {_LARGEST // 1_000_000} MB; split it by ID", source=str(name))
    return raw, str(name)


def _decode(raw: bytes, encoding: str | None, name: str) -> str:
    bom = next((codec for mark, codec in _BOMS if raw.startswith(mark)), None)
    codec = bom or encoding or "utf-8"
    try:
        return raw.decode(codec)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        advice = (
            "save the file as UTF-8, or declare what it is, for example encoding='latin-1'"
            if encoding is None and bom is None
            else "the file is not what it is declared to be; save it as UTF-8"
        )
        message = f"byte {error.start} (0x{raw[error.start]:02x}) is not valid {codec}"
        raise RecordError(Problem(line, None, message, advice), source=name) from error
    except (LookupError, ValueError) as error:
        raise RecordError(f"encoding {encoding!r} cannot be used: {error}", source=name) from error


def _separator(header: str, name: str) -> str:
    counts = dict.fromkeys(",;\t", 0)
    quoted = False
    for c in header:
        if c == '"':
            quoted = not quoted
        elif not quoted and c in counts:
            counts[c] += 1
    best = max(counts, key=lambda s: counts[s])
    if counts[best] == 0:
        shown = header.strip()[:60]
        raise RecordError(
            Problem(1, None, f"no columns found in the header {shown!r}", "separate the columns by , or ; or tab"),
            source=name,
        )
    return best


def _split(text: str, name: str) -> Table:
    if "\x00" in text:
        place = text.index("\x00")
        raise RecordError(
            Problem(
                text.count("\n", 0, place) + 1,
                None,
                "a NUL character: this is a binary file, or UTF-16 without a byte order mark",
                "save the table as UTF-8 text; for UTF-16 declare encoding='utf-16-le' or 'utf-16-be'",
            ),
            source=name,
        )
    if not text.strip():
        raise RecordError("the file is empty; it needs a header and at least one row", source=name)
    lines = io.StringIO(text, newline="")
    first = next((line for line in lines if line.strip()), "")
    separator = _separator(first, name)
    lines.seek(0)
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    header: list[str] | None = None
    rows: list[list[str]] = []
    numbers: list[int] = []
    problems: list[Problem] = []
    total = before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if header is None:
                if any(c.strip() for c in cells):
                    header = _header(cells, line, name)
            elif len(cells) == len(header):
                if any(cells):
                    rows.append(cells)
                    numbers.append(line)
            elif any(c.strip() for c in cells):
                if len(cells) > len(header) and not any(c.strip() for c in cells[len(header) :]):
                    rows.append(cells[: len(header)])
                    numbers.append(line)
                    continue
                total += 1
                if len(problems) < KEPT:
                    problems.append(_misfit(line, len(cells), len(header), separator))
    except csv.Error as error:
        total += 1
        problems.append(
            Problem(before + 1, None, f"the line cannot be split into cells: {error}", "look for a stray quote mark")
        )
    columns: list[Sequence[str] | NDArray[np.float64]] = list(zip(*rows, strict=True))
    kept = np.array(numbers, dtype=np.int64)
    return Table(name, header or [], columns, kept, separator, tuple(problems), total)


def _header(cells: list[str], line: int, name: str) -> list[str]:
    while cells and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) > _MOST_COLUMNS:
        message = f"{len(cells)} columns: this is not a header"
        raise RecordError(Problem(line, None, message, "begin the file with the column names"), source=name)
    return cells


def _misfit(line: int, found: int, expected: int, separator: str) -> Problem:
    if found < expected:
        advice = "was the file cut off? write '.' in cells that are missing"
    elif separator == ",":
        advice = "is there a decimal comma, or a comma in a text? separate by ';' or quote the cell"
    else:
        advice = "remove the stray separator, or quote the cell"
    return Problem(line, None, f"{found} cells where the header has {expected}", advice)


def _from_frame(frame: pd.DataFrame) -> Table:
    columns: list[Sequence[str] | NDArray[np.float64]] = []
    for i in range(frame.shape[1]):
        series: Any = frame.iloc[:, i]
        if getattr(series.dtype, "kind", "O") in "iuf":
            columns.append(np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan)))
        else:
            missing = np.asarray(series.isna(), dtype=bool)
            columns.append(["" if m else str(cell) for cell, m in zip(series, missing, strict=True)])
    lines = np.arange(2, frame.shape[0] + 2, dtype=np.int64)
    return Table("DataFrame", [str(c) for c in frame.columns], columns if len(frame) else [], lines)
