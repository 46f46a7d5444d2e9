"""simglucose's side of benchmarks/envs.py: its own Gymnasium environment, and some hours without meals."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import gymnasium  # noqa: E402
import numpy as np  # noqa: E402
from simglucose.actuator.pump import InsulinPump  # noqa: E402
from simglucose.controller.base import Action  # noqa: E402
from simglucose.patient.t1dpatient import T1DPatient  # noqa: E402
from simglucose.sensor.cgm import CGMSensor  # noqa: E402
from simglucose.simulation.env import T1DSimEnv  # noqa: E402
from simglucose.simulation.scenario import CustomScenario  # noqa: E402
from stepping import Stepping, children_too  # noqa: E402
from worker import serve  # noqa: E402

ID = "simglucose/adult1-v0"


class Scalar(gymnasium.ActionWrapper):
    """Hands the rate on as a number: its pump compares it with limits, which NumPy's arrays of one refuse by now."""

    def action(self, action: Any) -> float:
        """U/min."""
        return float(np.asarray(action).reshape(-1)[0])


def make(**keywords: Any) -> Any:
    """Its Gymnasium environment, a day long: steps of 3 min, meals at random."""
    return Scalar(gymnasium.make(ID, disable_env_checker=True, **keywords))


def shared_day(job: dict[str, Any]) -> np.ndarray:
    """Glucose under the skin of its patients without meals at a multiple of their basal rate, (patients, steps, 1)."""
    out = []
    for name in job["patients"]:
        patient = T1DPatient.withName(name)
        scenario = CustomScenario(datetime(2024, 1, 1), [])
        env = T1DSimEnv(patient, CGMSensor.withName("Dexcom", seed=1), InsulinPump.withName("Insulet"), scenario)
        env.reset()
        rate = round(job["multiple"] * float(patient._params.u2ss * patient._params.BW)) / 6000.0  # U/min
        rows = [env.step(Action(basal=rate, bolus=0.0)).info["bg"] for _ in range(job["steps"])]
        out.append(rows)
    return np.array(out, dtype=float)[:, :, None]


def stepping() -> Stepping:
    """Registers the id."""
    entry = "simglucose.envs:T1DSimGymnaisumEnv"
    gymnasium.register(ID, entry_point=entry, max_episode_steps=480, kwargs={"patient_name": "adult#001"})
    return Stepping({"simglucose": make})


def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    """Steps, or the shared day."""
    steps = stepping()
    return lambda job: shared_day(job) if job.get("day") else steps(job)


if __name__ == "__main__":
    serve(start, "simglucose", "gymnasium", "numpy", clock=children_too)
