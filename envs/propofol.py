"""Depth of anaesthesia: propofol by a syringe pump, decided every five seconds from a BIS monitor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from .. import therapies
from ..pkpd.errors import DoseloopError
from ..pkpd.model import Model
from ..twin.follow import Follow
from ..virtual.anaesthesia_cohort import anaesthesia_cohort
from ..virtual.anaesthesia_world import AnaesthesiaWorld
from ..virtual.faults import Fault
from ..virtual.monitors import Monitor
from ..virtual.people import People
from ..virtual.surgery import BloodLoss, Surgery
from . import propofol_step as s
from .belief import PropofolBelieved, believed
from .loop_vector import LoopVectorEnv
from .randomise import Randomised
from .risk import BIS_ERRORS, bis_kernel
from .single import DosingEnv
from .spaces import Feature, Lever

__all__ = ["PropofolEnv", "PropofolVectorEnv"]

FEATURES = (
    Feature("BIS", "1", 0, 100, what="newest reading of the monitor (95 before the first)", stacked=True),
    Feature("age", "s", 0, 60, 0, 300, "since the time stamp on it"),
    Feature("quality", "%", 0, 100, what="signal quality index; 0 before the first", stacked=True),
    Feature("mean", "1", 0, 100, what="of the readings, fading with a minute"),
    Feature("effect site", "µg/mL", 0, 8, 0, 40, "of the typical patient under what the pump confirmed"),
    Feature("rate", "mg/kg/min", 0, 1, 0, 10, "what the pump confirmed over the last interval", True),
    Feature("given", "mg/kg", 0, 12, 0, 60, "since admission"),
    Feature("minutes", "min", 0, 60, 0, 600, "since admission"),
    Feature("weight", "kg", 40, 120, 20, 250, "body weight"),
    Feature("years", "year", 18, 80, 0, 110, "age"),
    Feature("height", "cm", 145, 205, 40, 230, "height"),
    Feature("sex", "1", 0, 1, what="0 male, 1 female"),
)

LEVERS = {
    "multiple": (Lever("rate", "× 6 mg/kg/h", 0, 15, "of the label's lowest maintenance rate; 15 are 1.5 mg/kg/min"),),
    "rate": (Lever("rate", "mg/min", 0, 400, "one rate for all; 400 is the pump's most"),),
    "dose": (Lever("dose", "mg", 0, 400 / 12, "spread over the interval"),),
}


class PropofolVectorEnv(LoopVectorEnv):
    """n operations under propofol, from induction on.

    Args:
        num_envs: n.
        split: "train", "validation" or "test" of the published cohort.
        patients: how many of it, of whom each episode draws one; or `virtual.people.People` of your own.
        model: the plant's model.
        surgery: profile of stimulation: "none", "struys2004", "dumont2009", "step", "random", or a `Surgery`.
        sensor, pump, blood_loss, faults: what surrounds them (`virtual.anaesthesia_world`).
        action: "multiple", "rate" or "dose".
        reward: "absolute" or "squared" error of BIS.
        minutes: length of an episode.
        interval: min between decisions.
        guard: False hands what is asked to the pump unjudged; ``metadata["guard"]`` and every info tell.
        observation: "raw", or "belief": behind the history stands what the twin believes (`envs.belief`).
        twin: for "belief": the model the twin believes in (default: the plant's), its id, or a statement of what is
            estimated (`twin.follow.Follow`).
        randomise: ranges (low, high) by name of what each episode draws beside its patient (`envs.randomise`); default
            nothing.
        threads: that share the lanes.
        **base: see `vector.DosingVectorEnv`: max_episode_steps, grid, stack, autoreset_mode.

    Raises:
        DoseloopError: listing what does not fit.
    """

    name = "doseloop/Propofol-v0"
    rewards, costs = ("error",), ("deep", "very deep", "guard")
    worst, worst_cost = 1.0, 3.0
    known_names = ("weight", "age", "height", "sex")
    _loop = staticmethod(s.propofol_env_step)
    _settle = staticmethod(s.propofol_admit)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        split: str = "train",
        patients: int | People = 1000,
        model: str = "propofol_eleveld2018",
        surgery: Surgery | str = "random",
        sensor: Monitor | str = "usual",
        pump: str = "usual",
        blood_loss: BloodLoss | None = None,
        faults: Sequence[Fault] = (),
        action: str = "multiple",
        reward: str = "absolute",
        minutes: float = 60.0,
        interval: float = 1 / 12,
        guard: bool = True,
        observation: str = "raw",
        twin: Follow | Model | str | None = None,
        randomise: Mapping[str, tuple[float, float]] | None = None,
        threads: int = 1,
        **base: Any,
    ) -> None:
        therapy = therapies.load_loop("propofol")
        bad = [] if action in LEVERS else [f"action '{action}'; there are {', '.join(LEVERS)}"]
        bad += [] if reward in BIS_ERRORS else [f"reward '{reward}'; there are {', '.join(BIS_ERRORS)}"]
        if bad:
            raise DoseloopError([f"{self.name}: {b}" for b in bad])
        people = patients if isinstance(patients, People) else anaesthesia_cohort(model, split, int(patients))
        world = AnaesthesiaWorld(
            people,
            interval=interval,
            monitor=sensor,
            pumps=pump,
            surgery=surgery,
            blood_loss=blood_loss,
            faults=faults,
            n=num_envs,
            threads=threads,
        )
        self._build(
            therapy,
            world,
            features=FEATURES,
            levers=LEVERS[action],
            steps=round(minutes / interval),
            mode=list(LEVERS).index(action),
            kernel=bis_kernel(reward),
            guard=guard,
            rows=5,
            base=base,
            randomised=Randomised(self.name, randomise, world),
            believed=believed(partial(PropofolBelieved, people, interval, twin), observation, self.name),
        )


class PropofolEnv(DosingEnv):
    """One operation: see `PropofolVectorEnv`."""

    kind = PropofolVectorEnv
