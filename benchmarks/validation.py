"""Levels of real infants, each predicted before it was measured: the numbers of ``doseloop validate phenobarbital``.

.venv/bin/python benchmarks/validation.py
"""

from __future__ import annotations

import doseloop as dl
from common import save
from doseloop.twin.validate import walk_forward

therapy = dl.therapies.load("phenobarbital")
result = walk_forward(
    therapy.models, dl.example(therapy), output=therapy.output, prior_weights=therapy.prior_weights, draws=1000, seed=0
)
told = result.to_dict()
save("validation", {k: v for k, v in told.items() if k != "predictions"})
print(result.table())
