"""Propofol and remifentanil by model-predictive control of BIS and mean arterial pressure.

Two estimators follow the patient: one the hypnosis (propofol's kinetics and BIS), one the circulation (Su 2023, with
typical kinetics). Their draws make one: the plan's model is Su 2023, whose kinetics and BIS are the first estimator's
and whose circulation is the second's.

What it knows: the population, age, weight, height and sex, the monitor's readings and their quality, the pressures,
what the pumps confirmed.

The opioid has no measured effect that could steer it: BIS does not see it in this model, and nothing measures pain. So
its effect site is held near a target, inside a band from the label, and the pressure draws it to the lower end. Without
the band a controller would leave the opioid out, for all it does in the model is to lower the pressure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..controller.ladder import Trust
from ..controller.problem import Chance, Goal, Move, Problem
from ..controller.snapshot import Snapshot
from ..models import load
from ..pkpd.individuals import individuals
from ..pkpd.model import Model
from ..twin.follow import Follow
from ..twin.follower import Follower
from ..twin.statements import follow_pressure, follow_propofol
from ..twin.tracker import covariates_of
from ..virtual.world import Observation
from .following import FollowingPolicy
from .target_controlled import Pump, TargetControlled, Titration

__all__ = ["RELIEF", "TITRATION", "TWO_PUMPS", "TwoDrugMPC", "TwoDrugTuning"]

ROUTES = ("propofol", "remifentanil")
HYPNOSIS = "propofol_eleveld2018"  # Su 2023 takes its kinetics and its BIS from there
OLD = 65.0  # years: half of remifentanil from there on (SmPC of Ultiva)
TARGET = (4.0, 2.5)  # ng/mL, younger and older: the lower part of the 3 to 8 of the SmPC of Ultiva
TWO_PUMPS = (Pump(HYPNOSIS), Pump("remifentanil_eleveld2017", target=TARGET[0]))
TITRATION = Titration()
RELIEF = Titration(step=0.5, every=2.0, low=65.0, high=85.0, over=2.0, least=1.5, most=TARGET[0])  # ng/mL, mmHg
TRUST = Trust(oldest=0.5, discrepancy=(2.0, 0.5, 4.0), slack=1.0)  # min; BIS, ng/mL, mmHg
PATIENCE = 2.0  # min without a BIS, then target-controlled infusion; our own choice
USUAL = (0.1, 0.1)  # mg/kg/min, ug/kg/min: maintenance rates


@dataclass(frozen=True, slots=True)
class TwoDrugTuning:
    """What may be chosen; the defaults were tuned on the cohort's train split (docs/loop.md).

    Args:
        target: BIS; ``low``, ``high`` the soft band; ``weight``, ``low_weight``, ``high_weight`` per BIS².
        opioid_weight: of (remifentanil's effect site - its target)²; ``opioid_low`` (ng/mL) and ``opioid_low_weight``
            the lower end of its band, ``opioid_high`` the upper one, of the same weight.
        pressure: mmHg, soft; ``pressure_weight`` per mmHg² below it.
        deep, deep_chance: BIS, and the largest probability of going below it within the horizon.
        change_weight: of (change of a rate / its usual rate)², propofol and remifentanil.
        stage: min; ``stages`` of the horizon; ``blocks`` lengths of blocks of constant rates, the rest is one.
        draws: of the belief, over which the plan is made.
        rate: largest rates, mg/kg/min and ug/kg/min.
        passing: min with which stimulation is expected to pass.
    """

    target: float = 50.0
    low: float = 43.0
    high: float = 60.0
    weight: float = 1 / 10**2
    low_weight: float = 3.0
    high_weight: float = 0.01
    opioid_weight: float = 0.02
    opioid_low: float = 1.5
    opioid_low_weight: float = 2.0
    opioid_high: float = 8.0
    pressure: float = 65.0
    pressure_weight: float = 0.02
    deep: float = 40.0
    deep_chance: float = 0.1
    change_weight: tuple[float, float] = (0.03, 0.5)
    stage: float = 1 / 6
    stages: int = 36
    blocks: tuple[int, ...] = (1, 1, 2, 4, 8)
    draws: int = 16
    rate: tuple[float, float] = (1.5, 1.0)
    passing: float = 2.0


class TwoDrugMPC(FollowingPolicy):
    """Model-predictive control of two drugs for n patients at once.

    Args:
        model_id: the model it believes in: outputs ``bis``, ``map`` and ``ce_remifentanil``.
        interval: min between decisions.
        tuning: see `TwoDrugTuning`.
        hypnosis, circulation: what is estimated; default `follow_propofol` and `follow_pressure`.
        threads: for the solves.
    """

    def __init__(
        self,
        model_id: str = "propofol_remifentanil_su2023",
        interval: float = 1 / 12,
        tuning: TwoDrugTuning | None = None,
        hypnosis: Follow | None = None,
        circulation: Follow | None = None,
        threads: int = 1,
    ) -> None:
        self.tuning = t = tuning or TwoDrugTuning()
        model = load(model_id)
        super().__init__(
            load(HYPNOSIS),
            interval,
            hypnosis or follow_propofol(load(HYPNOSIS), interval),
            problem_of(model, interval, t),
            TRUST,
            PATIENCE,
            threads,
        )
        self.whole = model
        self.circulation = circulation or follow_pressure(model, interval)
        self.usual = TargetControlled(TWO_PUMPS, interval, relief=RELIEF)
        self.passes = -np.expm1(-t.stage * np.arange(1, t.stages + 1) / t.passing)
        self._places(self.model, model)

    def _places(self, small: Model, whole: Model) -> None:
        """Where hypnosis and circulation stand in the plan's model."""
        states, effects = whole.names("states"), whole.names("effects")
        self.own_states = [states.index(s) for s in small.names("states")]
        self.own_effects = [effects.index(e) for e in small.names("effects")]

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n patients: age, weight, height, sex."""
        self.begin({**known, "opioid": np.ones(n)}, n)
        self.covariates = covariates_of(self.whole, known, n)
        self.pressures = Follower(self.circulation, self.covariates)
        self.usual.reset(known, n)
        self.weight = np.asarray(known["weight"], dtype=float)
        self.opioid = np.where(np.asarray(known["age"], dtype=float) > OLD, TARGET[1], TARGET[0])
        self.began = False

    def act(self, seen: Observation) -> np.ndarray:
        """(n, 2) mg/min, ug/min."""
        t, n = self.tuning, self.n
        belief = self.observe(seen, {"propofol": seen.delivered[:, 0]})
        if self.began:
            self.pressures.step(np.nan_to_num(seen.delivered), seen.pressure)
        else:
            self.pressures.observe(seen.pressure)
        self.began = True
        states, parameters, offset = self.draws(t.draws)
        usual = np.array(USUAL) * self.weight[:, None]
        # the plan holds the stimulation as it is; by the time drug acts on it, part of it has passed
        passed = belief.mean[:, self.row["offset"]][:, None] * self.passes
        target = np.zeros((n, t.stages, 3))
        target[:, :, 0] = t.target + passed
        target[:, :, 1] = self.opioid[:, None]
        high = np.array(t.rate) * self.weight[:, None]
        snapshot = Snapshot(
            states=states,
            parameters=parameters,
            last=np.nan_to_num(seen.delivered),
            offset=offset,
            high=high,
            scale=usual,
            reference=usual,
            target=target,
        )
        return self.decide(snapshot, self.usual.act(seen), np.zeros((n, 2)), high)

    def draws(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """k draws of each patient: states and parameters of the plan's model, offsets of its watched outputs."""
        hypnosis, circulation = self.follower.draws(k), self.pressures.draws(k)
        states, effects = circulation.states, circulation.effects
        states[:, :, self.own_states] = hypnosis.states
        effects[:, :, self.own_effects] = hypnosis.effects
        flat = effects.reshape(self.n * k, -1)
        p = individuals(self.whole, np.repeat(self.covariates, k, axis=0), flat)
        offset = np.zeros((self.n, k, len(self.problem.watched)))
        offset[:, :, 0], offset[:, :, 2] = hypnosis.offset, circulation.offset
        return states, p.reshape(self.n, k, -1), offset


def problem_of(model: Model, interval: float, t: TwoDrugTuning) -> Problem:
    """The optimal control problem: BIS, the opioid's band, the pressure's floor, the chance of too deep a plan."""
    # without drug nothing has a slope: a little weight on the usual rates starts the search
    moves = [
        Move(route, 0.0, most, reference=7.0, weight=1e-5, change_weight=c, scale=7.0)
        for route, most, c in zip(ROUTES, (400.0, 1000.0), t.change_weight)
    ]
    return Problem(
        model,
        t.stage,
        t.stages,
        moves=moves,
        goals=[
            Goal("bis", t.target, t.weight, t.low, t.low_weight, t.high, t.high_weight),
            Goal(
                "ce_remifentanil",
                TARGET[0],
                t.opioid_weight,
                t.opioid_low,
                t.opioid_low_weight,
                t.opioid_high,
                t.opioid_low_weight,
            ),
            Goal("map", low=t.pressure, low_weight=t.pressure_weight),
        ],
        chances=[Chance("bis", t.deep_chance, below=t.deep)] if t.deep_chance > 0 else [],
        draws=t.draws,
        blocks=(*t.blocks, t.stages - sum(t.blocks)),
        every=interval,
    )
