"""Numbers, paragraphs and tables as plain text for a terminal, a pipe or a log."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Sequence

__all__ = ["number", "paragraph", "percent", "table", "width"]


def width() -> int:
    """Columns to write in: the terminal's (or $COLUMNS), between 72 and 140; 110 where there is none."""
    return max(72, min(140, shutil.get_terminal_size((110, 24)).columns))


def number(value: float, digits: int = 4) -> str:
    """A number with so many significant digits, without exponent where it can be read without one."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    text = f"{value:.{digits}g}"
    if "e" in text and 1e-4 <= abs(value) < 1e7:
        return f"{value:.0f}" if abs(value) >= 1 else f"{value:.{digits + 4}f}".rstrip("0")
    return text


def percent(probability: float) -> str:
    """A probability in percent; no more certain than it is (99.6 % is not 100 %)."""
    if 0 < probability < 0.005:
        return "<1 %"
    if 0.995 < probability < 1:
        return ">99 %"
    return f"{100 * probability:.0f} %"


def paragraph(text: str, indent: str = "", hanging: str | None = None) -> str:
    """Text wrapped to the width, all lines indented."""
    return textwrap.fill(
        text, width(), initial_indent=indent, subsequent_indent=indent if hanging is None else hanging,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str, indent: int = 2) -> str:
    """Columns under their headings.

    Args:
        head: headings; a line break in one gives it two lines.
        rows: cells.
        align: "l" or "r" for each column. A last column "l" is wrapped within the width.
        indent: spaces before each line.
    """
    heads = [h.split("\n") for h in head]
    height = max(len(h) for h in heads)
    lines = [[""] * (height - len(h)) + h for h in heads]
    sizes = [max([len(x) for x in lines[i]] + [len(r[i]) for r in rows]) for i in range(len(head))]
    if align[-1] == "l":
        sizes[-1] = max(24, width() - indent - sum(sizes[:-1]) - 2 * (len(sizes) - 1))
    out = []
    for k in range(height):
        out.append(_line([h[k] for h in lines], sizes, align, indent))
    for row in rows:
        last = (textwrap.wrap(row[-1], sizes[-1]) or [""]) if align[-1] == "l" else [row[-1]]
        out.append(_line([*row[:-1], last[0]], sizes, align, indent))
        out += [_line([""] * (len(row) - 1) + [more], sizes, align, indent) for more in last[1:]]
    return "\n".join(out)


def _line(cells: Sequence[str], sizes: Sequence[int], align: str, indent: int) -> str:
    padded = [c.rjust(s) if a == "r" else c.ljust(s) for c, s, a in zip(cells, sizes, align)]
    return (" " * indent + "  ".join(padded)).rstrip()
