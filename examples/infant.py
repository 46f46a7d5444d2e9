"""A real newborn: recommend, compare with going on as before, save and replay. Run: python examples/infant.py"""

import tempfile
from pathlib import Path

import doseloop as dl

therapy = dl.therapies.load("phenobarbital")
infant = next(r for r in dl.example(therapy) if r.id == "32")
twin = dl.sync(therapy, infant)
for reading in dl.diagnose(twin).readings:
    print(f"{reading.measurement.time:g} h: {reading.measurement.value:g} mg/L, {reading.verdict}")

answer = dl.recommend(therapy, twin)
print(answer.sentence)

# what if the dose so far were kept?
same = dl.Regimen(dl.Infusion(7.5, 84, duration=0.5, every=12, times=6))
for name, ahead in zip(("recommended", "as before"), dl.compare(twin, [answer.regimen, same], until=156.0)):
    low, middle, high = ahead.quantiles([0.05, 0.5, 0.95])[:, -1]
    print(f"{name}: {middle:.1f} mg/L at {ahead.times[-1]:g} h (90 % band {low:.1f} to {high:.1f})")

with tempfile.TemporaryDirectory() as folder:
    dl.plot_recommendation(answer, Path(folder) / "infant.png")
    print(dl.replay(dl.save(answer, Path(folder) / "infant.json")).sentence)
