"""Steps a second of simglucose's own simulation environment: run by its own environment's interpreter, with seconds."""

import logging
import sys
import time
import warnings
from datetime import datetime

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

from simglucose.actuator.pump import InsulinPump  # noqa: E402
from simglucose.controller.base import Action  # noqa: E402
from simglucose.patient.t1dpatient import T1DPatient  # noqa: E402
from simglucose.sensor.cgm import CGMSensor  # noqa: E402
from simglucose.simulation.env import T1DSimEnv  # noqa: E402
from simglucose.simulation.scenario_gen import RandomScenario  # noqa: E402

start = datetime(2024, 1, 1)
env = T1DSimEnv(
    T1DPatient.withName("adult#001"),
    CGMSensor.withName("Dexcom", seed=1),
    InsulinPump.withName("Insulet"),
    RandomScenario(start_time=start, seed=1),
)
env.reset()
count, began = 0, time.perf_counter()
while time.perf_counter() - began < float(sys.argv[1]):
    if env.step(Action(basal=0.02, bolus=0.0))[2]:
        env.reset()
    count += 1
print(count / (time.perf_counter() - began))
