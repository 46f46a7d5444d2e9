"""A simulation told: a table, a summary, a plot and a CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import RegimenError
from .individuals import individuals
from .model import Model
from .regimen import Regimen
from .simulate import Trajectory, simulate
from .text import number, paragraph, table

__all__ = ["Told", "run"]

ROWS = 24


@dataclass(frozen=True)
class Told:
    """A simulation and its words.

    Attributes:
        trajectory: on a fine grid; ``regimen`` what was given; ``text``: table and summary.
    """

    trajectory: Trajectory
    regimen: Regimen
    text: str

    def write(self, folder: Path) -> list[Path]:
        """Write a plot and a CSV file; returns their paths."""
        from .plotting import Given, dose_panel, new_figure, save, time_label, trajectory_plot

        t, model = self.trajectory, self.trajectory.model
        n = len(model.outputs)
        figure = new_figure(8.6, 3.0 * n + 1.9)
        *panels, last = figure.subplots(n + 1, 1, sharex=True, height_ratios=[3.0] * n + [1.0])
        for ax, output in zip(panels, model.outputs):
            trajectory_plot(t, output.name, ax)
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)
        people = "typical person" if len(t) == 1 else f"{len(t)} people"
        panels[0].set_title(f"{model.id}, {people}", fontsize=10.5, loc="left")
        low, high = panels[-1].get_xlim()
        last.set_xlabel(time_label(low, high, model.time_unit))
        last.spines[["top", "right"]].set_visible(False)
        units = {s.name: s.unit for s in model.states}
        first = self.regimen.doses[0].route if self.regimen.doses else model.routes[0].name
        dose_panel(last, [Given(self.regimen, "given")], units[model.route(first).into], low, high)
        last.tick_params(labelbottom=True)
        files = [save(figure, folder / f"{model.id}.png"), folder / f"{model.id}.csv"]
        t.to_dataframe().to_csv(files[1], index=False)
        return files


def _end(regimen: Regimen) -> float:
    """An interval after the last dose, a day at least."""
    last = [d.last + max(d.interval, d.length or 0.0, 24.0) for d in regimen.doses]
    return max(last, default=24.0)


def _step(span: float) -> float:
    """A round step that gives at most `ROWS` rows."""
    for step in (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 24.0, 48.0, 72.0, 168.0):
        if span / step < ROWS:
            return step
    return span / ROWS


def _cell(values: np.ndarray) -> str:
    if len(values) == 1:
        return number(values[0])
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return f"{number(middle, 3)} ({number(low, 3)}–{number(high, 3)})"


def run(
    model: Model,
    regimen: Regimen,
    covariates: Mapping[str, float],
    *,
    until: float | None = None,
    people: int = 1,
    seed: int = 0,
) -> Told:
    """Simulate the typical person, or people with between-subject variability, and tell it.

    Args:
        model, regimen: what; times in the model's unit.
        covariates: by name, of everybody.
        until: end; default an interval after the last dose.
        people: 1 is the typical person.
        seed: of the random effects.

    Raises:
        RegimenError: doses that the model cannot take, or an end before the first dose.
        SolverError: an integration that failed.
    """
    first = min([0.0, *(d.time for d in regimen.doses)])
    end = _end(regimen) if until is None else until
    if end <= first:
        raise RegimenError(f"the simulation ends at {end:g}, before anything is given ({first:g})")
    step = _step(end - first)
    shown = np.unique(np.append(np.arange(first, end + 1e-9, step), end))
    edges = [
        t for d in regimen.expanded().doses for t in (d.time, d.time + 1e-6, d.time + (d.length or 0.0)) if t <= end
    ]
    day = max(first, end - 24.0)
    times = np.unique(np.concatenate([np.linspace(first, end, 481), shown, edges, [day]]))
    eta = None
    if people > 1:
        z = np.random.Generator(np.random.Philox([seed, 11])).standard_normal((people, len(model.effects)))
        eta = z @ np.linalg.cholesky(model.omega).T
    given = covariates if model.covariates else None
    trajectory = simulate(model, individuals(model, given, eta), regimen, times, integrals=True)
    return Told(trajectory, regimen, _text(trajectory, regimen, covariates, shown, day))


def _text(t: Trajectory, regimen: Regimen, covariates: Mapping[str, float], shown: np.ndarray, day: float) -> str:
    model, one = t.model, len(t) == 1
    units = {c.name: "" if c.unit in ("", "1") else f" {c.unit}" for c in model.covariates}
    said = ", ".join(f"{k} {number(v)}{units[k]}" for k, v in covariates.items()) or "none"
    parameters = ", ".join(
        f"{n} {_cell(t.parameters[:, i])}{'' if u == '1' else ' ' + u}"
        for i, (n, u) in enumerate(model.individual_units.items())
    )
    who = "the typical person" if one else f"{len(t)} people, median (5 % to 95 %)"
    out = [
        f"{model.id}: {who}",
        paragraph(f"given       {'; '.join(map(str, regimen.doses))} ({model.time_unit})", "  ", " " * 14),
        paragraph(f"covariates  {said}", "  ", " " * 14),
        paragraph(f"parameters  {parameters}", "  ", " " * 14),
        "",
    ]
    at = np.searchsorted(t.times, shown - 1e-9)
    rows = [[f"{t.times[i]:.5g}", *(_cell(t[o.name][:, i]) for o in model.outputs)] for i in at]
    head = [f"time\n{model.time_unit}", *(f"{o.name}\n{o.unit}" for o in model.outputs)]
    out += [table(head, rows, "r" * len(head)), ""]
    i, k = np.searchsorted(t.times, [day - 1e-9, t.times[-1] - 1e-9])
    for o in model.outputs:
        peak, when = t[o.name].max(axis=1), t.times[t[o.name].argmax(axis=1)]
        total = t.integrals[o.name][:, k] - t.integrals[o.name][:, i]
        out.append(f"  highest {o.name}: {_cell(peak)} {o.unit} at {_cell(when)} {model.time_unit}")
        span = t.times[k] - t.times[i]
        out.append(f"  AUC of the last {span:g} {model.time_unit}: {_cell(total)} {o.unit}*{model.time_unit}")
    out.append("  A level at a dose's time is the one just before it.")
    return "\n".join(out)
