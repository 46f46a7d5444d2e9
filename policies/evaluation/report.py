"""The report of an evaluation in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .arms import arm
from .clinical import SHOWN
from .saved import Saved
from .statistics import Estimate
from .summary import differences, summary

__all__ = ["arm_tables", "cell", "report", "table"]

HOW = (
    "Every policy meets the same patients under the same noise; every episode is another patient of the test split. "
    "In brackets 95 % intervals, stratified bootstrap over patients (by group). Return: sum of rewards, 0 is best; "
    "IQM: mean of the middle half; worst 5 %: mean of the lowest twentieth. A run that ended early is charged the "
    "worst risk for all that was left of its horizon; its clinical scores stay where it ended. Cost: the "
    "environment's; harm: of it, what is not its guard refusing doses "
    "(`docs/envs`). ms: processor time of one decision. Training: processor hours, as the network's file says."
)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown, with an empty line behind it."""
    line = lambda cells: f"| {' | '.join(c.replace('|', chr(92) + '|') for c in cells)} |"  # noqa: E731
    return [line(head), line(["---"] * len(head)), *(line(r) for r in rows), ""]


def cell(e: Estimate) -> str:
    """A number with its interval."""
    return f"{number(e.value)} ({number(e.low)} to {number(e.high)})"


def number(x: float) -> str:
    """Three digits, never as a power of ten."""
    if x == 0 or abs(x) < 5e-5:
        return "0"
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.3g}"


def report(saved: Saved) -> str:
    """The whole report."""
    name = saved.env
    notes = [about.get("made", {}).get("commit", "") for about in saved.about.values()]
    commits = ", ".join(dict.fromkeys(c for c in notes if c)) or "unknown"
    lines = [
        f"# {name}: {saved.patients} held-out virtual patients",
        "",
        f"Seeds from {saved.seed} on, {saved.persons} persons of the test split to choose from; commit {commits}.",
        "",
        HOW,
        "",
        "Simulation and research; not for dosing people.",
        "",
    ]
    for a in saved.arms:
        lines += arm_tables(saved, a)
    return "\n".join(lines)


def arm_tables(saved: Saved, name: str) -> list[str]:
    """The tables of one arm: returns, clinical scores, differences."""
    where, rows = arm(saved.env, name), saved.of(name)
    label = {p: str(saved.about[p, name].get("label", p)) for p in rows}
    found = {p: summary(r) for p, r in rows.items()}
    filtered = any(s.changed is not None for s in found.values())
    head = ["policy", "return", "IQM", "worst 5 %", "cost", "harm", "cost, worst 5 %", "ended early, %", "ms"]
    head.append("training, h")
    body: list[list[str]] = []
    for p, s in found.items():
        spent: Any = saved.about[p, name].get("training_hours")
        body.append(
            [
                label[p],
                *map(cell, (s.returns, s.middle, s.tail, s.cost, s.harm, s.cost_tail, s.ended)),
                number(s.milliseconds),
                "" if spent is None else number(float(spent)),
            ]
        )
        if filtered:
            told = (s.changed, s.withheld)
            body[-1] += ["" if v is None else number(v) for v in told]
    head += ["decisions changed, %", "dose withheld, %"] if filtered else []
    shown = SHOWN[saved.env]
    scores = [[label[p], *(cell(s.scores[k]) for k in shown)] for p, s in found.items()]
    gaps = [
        [
            label[d.policy],
            label[d.than],
            cell(d.returns),
            cell(d.middle),
            cell(d.cost),
            cell(d.harm),
            cell(next(iter(d.scores.values()))),
        ]
        for d in differences(rows)
    ]
    first = next(iter(shown.values())).label
    return [
        f"## {name}: {where.what}",
        "",
        *table(head, body),
        *table(["policy", *(s.label for s in shown.values())], scores),
        *(
            [
                "Differences, patient by patient:",
                "",
                *table(["policy", "less", "return", "IQM", "cost", "harm", first], gaps),
            ]
            if gaps
            else []
        ),
    ]
