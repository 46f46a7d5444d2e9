"""What a comparison leaves: its JSON, a Markdown table of it, and how it stands beside the last committed one.

The JSON has ``machine`` (processor, load before and after, versions of every side, commit) and ``lines``: each with
``name``, ``side``, ``cpu ms`` and ``wall ms`` (median and quartiles), and what the benchmark adds.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import RESULTS

__all__ = ["PAGE", "SLOWER", "committed", "compared", "number", "put", "rows", "table", "told"]

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
SLOWER = 1.10  # a line that takes so many times the processor time of the last result is marked
OWN = "doseloop"


def committed(name: str) -> dict[str, Any] | None:
    """The result that the last commit holds, if there is one (outside a checkout: the file as it stands)."""
    path = RESULTS / f"{name}.json"
    shown = subprocess.run(
        ["git", "show", f"HEAD:./{path.name}"], cwd=RESULTS, capture_output=True, text=True, check=False
    )
    if shown.returncode == 0:
        return json.loads(shown.stdout)  # type: ignore[no-any-return]
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def compared(now: Mapping[str, Any], last: Mapping[str, Any] | None) -> str:
    """The new result beside the last: the ratio of processor time of every line, those slower by 10 % marked.

    Lines of peers, whose code stands still, say how far the machine itself has moved.
    """
    if last is None or "lines" not in last:
        return "there is no earlier result to compare with"
    before = {line["name"]: line for line in last["lines"] if "cpu ms" in line}
    out, others, slower = [], [], 0
    for line in now["lines"]:
        old = before.pop(line["name"], None)
        if "cpu ms" not in line:
            continue
        if old is None:
            out.append(f"    new    {line['name']}")
            continue
        r = line["cpu ms"]["median"] / old["cpu ms"]["median"]
        if line["side"] == OWN:
            slower += r >= SLOWER
            out.append(f"  {r:6.2f} ×{' SLOWER' if r >= SLOWER else ''} {line['name']}")
        else:
            others.append(r)
    out += [f"    gone   {name}" for name in before]
    a, b = (r["machine"] for r in (now, last))
    head = f"beside commit {b['commit']}: {slower} of doseloop's lines 10 % slower or more"
    if others:
        middle = sorted(others)[len(others) // 2]
        head += f"; the peers' {len(others)} lines, whose code stands still, take {middle:.2f} × (median)"
    if a["processor"] != b["processor"]:
        head += f"; another processor ({b['processor']} then, {a['processor']} now)"
    return "\n".join([head, *out])


def number(value: float) -> str:
    """Three significant digits, thousands set apart."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exponent = int(f"{value:.2e}".partition("e")[2])
    if not -4 <= exponent < 9:
        return f"{value:.1e}"
    return f"{round(value, 2 - exponent):,.{max(0, 2 - exponent)}f}"


def told(m: Mapping[str, Any]) -> str:
    """Of what machine the numbers are."""
    rounds = f" {m['rounds']} rounds," if "rounds" in m else ""
    return f"{m['processor']}, load {m['load_before']} to {m['load']},{rounds} commit {m['commit']}."


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body)]


def times(of: Mapping[str, float]) -> str:
    """Median (quartiles)."""
    return f"{number(of['median'])} ({number(of['q1'])}–{number(of['q3'])})"


def rows(lines: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Of each line: name, difference, processor ms (quartiles), wall ms, and its ratio to doseloop or why none."""
    out = []
    for line in lines:
        if "failed" in line:
            out.append([line["name"], "", "", "", line["failed"]])
            continue
        r = line.get("ratio")
        told = "" if r is None else r["refused"] if "refused" in r else f"{times(r)} ×"
        out.append(
            [line["name"], f"{line['difference']:.1e}", times(line["cpu ms"]), number(line["wall ms"]["median"]), told]
        )
    return out


def put(name: str, text: str, page: Path = PAGE) -> None:
    """Put a benchmark's tables between its markers on the page."""
    begin, end = f"<!-- {name}: written by doseloop bench -->", f"<!-- end of {name} -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")
