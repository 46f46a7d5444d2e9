"""`doseloop loop`: a patient, a day (an operation), a live line, then scores, a plot and JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import __version__
from ..pkpd.errors import DoseloopError
from ..pkpd.text import paragraph
from ..pkpd.typed import plain, writable
from ..safety import Code
from ..virtual.world import Observation
from .closed_loop import Run, run
from .plotting import plot_loop
from .scenes import SCENES, Scene

__all__ = ["loop"]


def loop(args: argparse.Namespace) -> int:
    """Run the command; the arguments are those of ``doseloop loop --help``."""
    scene = SCENES[args.therapy]()
    settings = _settings(args, scene)
    out = writable(args.out)
    t = scene.therapy
    people = scene.people(settings["plant"], args.patients, settings["group"])
    names = [settings["controller"], *(n for n in list(scene.policies)[:2] if n != settings["controller"])]
    names = names if args.beside else names[:1]
    runs: dict[str, Run] = {}
    counts: dict[str, dict[str, int]] = {}
    for name in names:
        believes = settings["believes"] if name == settings["controller"] else None
        policy = scene.policy(name, believes, args.threads, settings["surroundings"])
        gate = scene.gate()
        world = scene.world(people, settings["surroundings"], args.threads)
        with _Line(policy.name, t.unit, args.patients) as line:
            runs[policy.name] = run(world, policy, gate, 60.0 * settings["hours"], seed=args.seed, progress=line)
        counts[policy.name] = {c.name: k for c, k in gate.counts.items() if k}
    scores = {name: scene.scores(r) for name, r in runs.items()}
    print(_report(scene, settings, args, runs, scores, counts))
    stem = out / f"loop-{t.id}"
    files = [stem.with_suffix(".png"), stem.with_suffix(".json")]
    plot_loop(scene, runs, files[0])
    files[1].write_text(
        json.dumps(plain(_dict(scene, settings, args, runs, scores, counts)), indent=1) + "\n", encoding="utf-8"
    )
    print(f"\nwritten: {', '.join(map(str, files))}")
    return 0


def _settings(args: argparse.Namespace, scene: Scene) -> dict[str, Any]:
    """Everything chosen, defaults filled in; all that is wrong in one error."""
    bad: list[str] = []

    def choose(option: str, value: str | None, known: tuple[str, ...]) -> str:
        if value is not None and value not in known:
            bad.append(f"--{option} {value}: there are {', '.join(known)}")
        return known[0] if value is None else value

    models = scene.therapy.model_ids
    chosen: dict[str, Any] = {
        "plant": choose("patient", args.patient, models),
        "believes": choose("model", args.model, models),
        "controller": choose("controller", args.controller, tuple(scene.policies)),
        "surroundings": choose("scenario", args.scenario, scene.surroundings),
        "group": choose("group", args.group, scene.groups),
        "hours": scene.hours if args.hours is None else args.hours,
    }
    if not 0 < chosen["hours"] <= 24 * 30:
        bad.append(f"--hours {chosen['hours']}: above 0, at most 720")
    if not 1 <= args.patients <= 10000 or args.seed < 0 or args.threads < 1:
        bad.append(
            f"--patients {args.patients} --seed {args.seed} --threads {args.threads}: 1 to 10000, 0 or more, 1 or more"
        )
    if bad:
        raise DoseloopError(bad)
    return chosen


class _Line:
    """One live line: where the loop is, the newest reading and what is given."""

    def __init__(self, name: str, unit: str, patients: int) -> None:
        from tqdm import tqdm

        self._unit, self._one, self._pressure = unit, patients == 1, ""
        self._bar = tqdm(
            desc=name, total=1, unit="decision", file=sys.stderr, disable=None, leave=False, mininterval=0.2
        )

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, done: int, of: int, seen: Observation) -> None:
        self._bar.total = of
        if self._bar.disable or (done % 16 and done != of):
            return
        value = (
            seen.reading[0]
            if self._one
            else float(np.nanmedian(seen.reading))
            if np.isfinite(seen.reading).any()
            else np.nan
        )
        shown = "no reading" if np.isnan(value) else f"{value:.0f} {self._unit if self._unit != '1' else 'BIS'}"
        if np.isfinite(seen.pressure).any():
            self._pressure = f", MAP {np.nanmedian(seen.pressure):.0f}"
        given = " + ".join(f"{v:.2f}" for v in seen.delivered.mean(axis=0))
        self._bar.set_postfix_str(f"{seen.time:.0f} min, {shown}{self._pressure}, given {given}", refresh=False)
        self._bar.update(done - self._bar.n)


def _report(
    scene: Scene,
    settings: Mapping[str, Any],
    args: argparse.Namespace,
    runs: Mapping[str, Run],
    scores: Mapping[str, Mapping[str, np.ndarray]],
    counts: Mapping[str, Mapping[str, int]],
) -> str:
    t = scene.therapy
    who = f"{args.patients} held-out virtual patient{'s' if args.patients > 1 else ''} ({settings['plant']})"
    lines = [
        paragraph(f"{t.title}. {t.purpose}"),
        "",
        f"{who}, {settings['hours']:g} h, {settings['surroundings']}, seed {args.seed}",
        "",
    ]
    names = list(runs)
    width = max(len(v) for v in scene.shown.values()) + 2
    lines.append(" " * width + "".join(f"{n:>14}" for n in names))
    for key, label in scene.shown.items():
        cells = [_cell(scores[n][key]) for n in names]
        lines.append(f"{label:<{width}}" + "".join(f"{c:>14}" for c in cells))
    ended = [int(np.count_nonzero(runs[n].endings)) for n in names]
    lines.append(f"{'runs ended early':<{width}}" + "".join(f"{e:>14}" for e in ended))
    speed = [1e3 * runs[n].thinking / (len(runs[n].times) * args.patients) for n in names]
    lines.append(f"{'ms a decision':<{width}}" + "".join(f"{s:>14.3f}" for s in speed))
    for n in names:
        said = ", ".join(f"{Code[c].name.lower().replace('_', ' ')} {k}" for c, k in counts[n].items())
        lines += ["", paragraph(f"The guard on {n}: {said or 'nothing to say'}.")]
    return "\n".join(lines)


def _cell(values: np.ndarray) -> str:
    v = np.asarray(values, dtype=float)
    if len(v) == 1:
        return f"{v[0]:.1f}"
    return f"{np.mean(v):.1f}" if np.isfinite(v).all() else f"median {np.median(v):.1f}"


def _dict(
    scene: Scene,
    settings: Mapping[str, Any],
    args: argparse.Namespace,
    runs: Mapping[str, Run],
    scores: Mapping[str, Mapping[str, np.ndarray]],
    counts: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    out: dict[str, Any] = {
        "doseloop": __version__,
        "therapy": scene.therapy.id,
        "settings": dict(settings) | {"patients": args.patients, "seed": args.seed},
        "origin": next(iter(runs.values())).people.origin,
        "runs": {},
    }
    for name, r in runs.items():
        entry: dict[str, Any] = {
            "scores": {k: _tidy(v) for k, v in scores[name].items()},
            "ids": r.people.ids.tolist(),
            "ended": np.asarray(r.endings).tolist(),
            "guard": dict(counts[name]),
            "seconds": {"all": r.seconds, "policy": r.thinking, "guard": r.guarding},
        }
        if len(r) <= 8:  # a trace to look at; many patients would fill the disk
            entry["trace"] = {
                "minutes": r.times.tolist(),
                "reading": _tidy(r.reading.T),
                "announced": _tidy(r.announced.T),
                "asked": _tidy(r.asked.transpose(1, 0, 2)),
                "allowed": _tidy(r.allowed.transpose(1, 0, 2)),
                "delivered": _tidy(r.delivered.transpose(1, 0, 2)),
                "truth": _tidy(r.truth),
                "tick": r.tick,
            }
            if r.pressure is not None and r.true_pressure is not None:
                entry["trace"] |= {"pressure": _tidy(r.pressure.T), "true_pressure": _tidy(r.true_pressure)}
        out["runs"][name] = entry
    return out


def _tidy(values: np.ndarray) -> Any:
    """Nested lists for JSON, rounded; None where there is no number."""
    rounded = np.round(np.asarray(values, dtype=float), 4).astype(object)
    rounded[~np.isfinite(np.asarray(values, dtype=float))] = None
    return rounded.tolist()
