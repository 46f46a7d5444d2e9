"""Writes docs/results.md and the README's table from the committed JSON of benchmarks/results.

.venv/bin/python docs/results.py        (or: make results)

Templates: docs/results.in.md and docs/readme.in.md. In them a number stands as ``{file > key > key : format}``. Keys
lead into ``benchmarks/results/file.json``; a key ``name=…`` picks the entry of a list that has this name, a number its
place; ``sum:key`` adds over a list. Formats:

- ``3g``: three significant digits, thousands set apart; ``0f``, ``1f``, ``+1f``: decimals; ``1e``: a power of 10;
- ``* 1e-6`` after the keys multiplies; ``/ file > keys`` divides by another number;
- ``! <= 0.3``, ``! >= 88`` after the format marks an aim: the number gets ✗ where it is missed.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS.parent / "benchmarks" / "results"
BEGIN, END = "<!-- results: written by docs/results.py -->", "<!-- end of results -->"
PAGE, TABLE = DOCS / "results.in.md", DOCS / "readme.in.md"
PLACE = re.compile(r"\{([^{}]+?) : ([^{}!]+?)(?: ! (<=|>=|<|>) ([-\d.e]+))?\}")
MEETS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@cache
def measured(name: str) -> Any:
    """What a benchmark wrote."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def find(path: str) -> float:
    """The number at ``file > key > key``."""
    name, *keys = [k.strip() for k in path.split(" > ")]
    at = measured(name)
    for key in keys:
        if isinstance(at, list) and key.startswith("sum:"):
            at = sum(e[key[4:]] for e in at)
        elif isinstance(at, list):
            found = [e for e in at if e["name"] == key[5:]] if key.startswith("name=") else [at[int(key)]]
            if len(found) != 1:
                raise KeyError(f"{path}: {len(found)} entries are called {key[5:]!r}")
            at = found[0]
        elif key in at:
            at = at[key]
        else:
            raise KeyError(f"{path}: no {key!r}; there are {', '.join(map(repr, at))}")
    return float(at)


def number(expression: str) -> float:
    """The value of ``path``, ``path * factor`` or ``path / path``."""
    path, times, factor = expression.partition(" * ")
    above, over, below = path.partition(" / ")
    value = find(above) / find(below) if over else find(above)
    return value * float(factor) if times else value


def written(value: float, form: str) -> str:
    """A number in one of the formats."""
    places = int(form.strip("+")[:-1])
    if form.endswith("g") and value != 0.0:
        exponent = int(f"{value:.{places - 1}e}".partition("e")[2])
        if -5 < exponent < 12:
            decimals = places - 1 - exponent
            text = f"{round(value, decimals):,.{max(0, decimals)}f}"
        else:
            text = written(value, f"{places - 1}e")
    elif form.endswith("e"):
        text = re.sub(r"e([+-])0*(\d+)", lambda m: f"e{m[1].strip('+')}{m[2]}", f"{value:.{places}e}")
    else:
        text = f"{value:{'+' if form.startswith('+') else ''},.{0 if form.endswith('g') else places}f}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def filled(template: str) -> str:
    """A template with its numbers."""

    def one(match: re.Match[str]) -> str:
        value = number(match[1])
        text = written(value, match[2].strip())
        return f"{text} ✗" if match[3] and not MEETS[match[3]](value, float(match[4])) else text

    return PLACE.sub(one, template)


def readme() -> str:
    """The README with its table made anew."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{filled(TABLE.read_text(encoding='utf-8'))}\n{END}{after}"


def page() -> str:
    """docs/results.md made anew."""
    return filled(PAGE.read_text(encoding="utf-8"))


def main() -> None:
    """Write."""
    for path, text in ((DOCS.parent / "README.md", readme()), (DOCS / "results.md", page())):
        path.write_text(text, encoding="utf-8")
        print(f"{path.name}: {text.split(BEGIN)[-1].count('✗')} marked as missed")


if __name__ == "__main__":
    main()
