"""The scenes of the closed loops: which patients, what surrounds them, which policies, under which guard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from .. import therapies
from ..pkpd.errors import DoseloopError
from ..therapies import LoopTherapy
from ..therapies.gate import Gate
from ..virtual.anaesthesia_cohort import anaesthesia_cohort
from ..virtual.anaesthesia_scores import anaesthesia_scores
from ..virtual.anaesthesia_world import AnaesthesiaWorld
from ..virtual.glucose_cohort import glucose_cohort
from ..virtual.glucose_scores import glucose_scores
from ..virtual.glucose_world import GlucoseWorld
from ..virtual.people import People
from ..virtual.pressure_scores import pressure_scores
from ..virtual.world import LoopWorld
from .anaesthesia_mpc import AnaesthesiaMPC
from .basal_bolus import BasalBolus
from .closed_loop import Run
from .glucose_mpc import GlucoseMPC
from .pid import PID
from .policy import Policy
from .target_controlled import TargetControlled
from .two_drug_mpc import RELIEF, TITRATION, TWO_PUMPS, TwoDrugMPC

__all__ = ["SCENES", "Scene"]


@dataclass(frozen=True)
class Scene:
    """What `doseloop loop` offers of one therapy.

    Attributes:
        therapy: the therapy.
        hours: usual length of a run.
        surroundings: names of what can surround the patients (meals; stimulation), the usual one first.
        people: ``people(model_id, n, group) -> People`` of the test split.
        groups: groups of patients, the usual one first.
        world: ``world(people, surroundings, threads) -> LoopWorld``.
        policies: by name, the usual controller first, the usual protocol second.
        scores: ``scores(run) -> name to (n,)``, and ``shown``: names and how they are printed.
        within: by surroundings, policies that take the place of those of the same name there.
    """

    therapy: LoopTherapy
    hours: float
    surroundings: tuple[str, ...]
    groups: tuple[str, ...]
    people: Callable[[str, int, str], People]
    world: Callable[[People, str, int], LoopWorld]
    policies: Mapping[str, Callable[[LoopTherapy, str, int], Policy]]
    scores: Callable[[Run], Mapping[str, np.ndarray]]
    shown: Mapping[str, str]
    within: Mapping[str, Mapping[str, Callable[[LoopTherapy, str, int], Policy]]] = field(default_factory=dict)

    def gate(self) -> Gate:
        """The guard of this therapy."""
        return Gate(self.therapy)

    def policy(self, name: str, model_id: str | None = None, threads: int = 1, surroundings: str = "") -> Policy:
        """A policy by name.

        Args:
            name: one of ``policies``.
            model_id: the model a controller believes in (default the therapy's first).
            threads: for its computations.
            surroundings: in which it will act, where that is known.

        Raises:
            DoseloopError: no such policy or model.
        """
        bad = []
        if name not in self.policies:
            bad.append(f"no controller '{name}'; there are {', '.join(self.policies)}")
        if model_id is not None and model_id not in self.therapy.model_ids:
            bad.append(f"no controller believes in '{model_id}'; there are {', '.join(self.therapy.model_ids)}")
        if bad:
            raise DoseloopError(bad)
        make = self.within.get(surroundings, {}).get(name, self.policies[name])
        return make(self.therapy, model_id or self.therapy.model_ids[0], threads)


def _glucose() -> Scene:
    therapy = therapies.load_loop("glucose")
    return Scene(
        therapy,
        24.0,
        ("counted", "by weight", "unannounced", "none"),
        ("adult", "adolescent", "child", "all"),
        lambda model, n, group: glucose_cohort(model, split="test", n=n, group=group),
        lambda people, meals, threads: GlucoseWorld(
            people, interval=therapy.interval, meals=meals, keep=True, threads=threads
        ),
        {
            "mpc": lambda t, model, threads: GlucoseMPC(model, t.interval, threads=threads),
            "basal-bolus": lambda t, model, threads: BasalBolus(),
        },
        lambda run: glucose_scores(run.truth, run.truth.shape[1]),
        {
            "tir": "time in 70-180 mg/dL, %",
            "tbr": "time below 70, %",
            "tbr54": "time below 54, %",
            "tar": "time above 180, %",
            "mean": "mean glucose, mg/dL",
            "cv": "coefficient of variation, %",
            "lbgi": "low blood glucose index",
            "hbgi": "high blood glucose index",
        },
        {
            "unannounced": {
                "mpc": lambda t, model, threads: GlucoseMPC(model, t.interval, announced=False, threads=threads)
            }
        },
    )


def _propofol() -> Scene:
    therapy = therapies.load_loop("propofol")
    return Scene(
        therapy,
        1.0,
        ("struys2004", "step", "dumont2009", "random", "none"),
        ("adult",),
        lambda model, n, group: anaesthesia_cohort(model, "test", n),
        lambda people, surgery, threads: AnaesthesiaWorld(
            people, interval=therapy.interval, surgery=surgery, keep=True, threads=threads
        ),
        {
            "mpc": lambda t, model, threads: AnaesthesiaMPC(model, t.interval, threads=threads),
            "pid": lambda t, model, threads: PID(),
            "tci": lambda t, model, threads: TargetControlled(interval=t.interval),
        },
        lambda run: anaesthesia_scores(run.truth, run.tick, since=0.0),
        {
            "in_range": "time with BIS 40-60, %",
            "below40": "time with BIS below 40, %",
            "above60": "time with BIS above 60, %",
            "settling": "settling, min",
            "mdape": "MDAPE, %",
            "wobble": "wobble, %",
            "global": "global score",
        },
    )


def _two_drugs(run: Run) -> dict[str, np.ndarray]:
    assert run.true_pressure is not None
    weight = np.asarray(run.people.known["weight"], dtype=float)
    mean = run.delivered.mean(axis=0) / weight[:, None]
    rates = {"propofol": 60.0 * mean[:, 0], "remifentanil": 60.0 * mean[:, 1]}
    return {**anaesthesia_scores(run.truth, run.tick), **pressure_scores(run.true_pressure, run.tick), **rates}


def _anaesthesia() -> Scene:
    therapy, alone = therapies.load_loop("anaesthesia"), _propofol()
    return replace(
        alone,
        therapy=therapy,
        surroundings=("step", *(s for s in alone.surroundings if s != "step")),
        policies={
            "mpc": lambda t, model, threads: TwoDrugMPC(model, t.interval, threads=threads),
            "tci": lambda t, model, threads: TargetControlled(TWO_PUMPS, t.interval, TITRATION, RELIEF),
            "tci-fixed": lambda t, model, threads: TargetControlled(TWO_PUMPS, t.interval),
        },
        scores=_two_drugs,
        shown={
            **{k: v for k, v in alone.shown.items() if k != "wobble"},
            "map": "mean arterial pressure, mmHg",
            "map_below65": "time under 65 mmHg, %",
            "map_below55": "time under 55 mmHg, %",
            "propofol": "propofol, mg/kg/h",
            "remifentanil": "remifentanil, ug/kg/h",
        },
    )


SCENES: Mapping[str, Callable[[], Scene]] = {"anaesthesia": _anaesthesia, "glucose": _glucose, "propofol": _propofol}
