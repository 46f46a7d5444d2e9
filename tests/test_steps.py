"""The fixed step that a model declares for loops keeps its promise; benchmarks/steps.py says by how much."""

import math
import runpy
from pathlib import Path

import pytest
from doseloop import models

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def steps(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return runpy.run_path(str(FOLDER / "steps.py"))


@pytest.mark.parametrize("id", [m.id for m in models.all_models() if math.isfinite(m.step)])
def test_the_declared_step_keeps_the_promise(steps, id):
    model = models.load(id)
    trial = steps["Trial"](model, 16)
    assert trial.keeps(trial.errors(model.step)), trial.errors(model.step)
    assert max(trial.errors(model.step).values()) > 1e-9, "an error that small was not measured"
