"""A checkpoint: all that a run is between two rounds, in one file that is written whole or not at all."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ...pkpd.errors import DoseloopError
from .settings import Settings

__all__ = ["load", "restore", "save"]

BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def save(file: Path, settings: Settings, seed: int, model: Any, told: Mapping[str, Any]) -> None:
    """Write it.

    Args:
        file: where.
        settings, seed: of the run, which a resumed run must share.
        model: SB3's; weights, optimisers and, of an off-policy one, its replay buffer are kept.
        told: what the run keeps beside, as JSON can say it.
    """
    held = {
        "settings": json.dumps(asdict(settings)),
        "seed": seed,
        "told": json.dumps(told),
        "parameters": model.get_parameters(),
        "variables": {
            k: _of(model, k).detach() for k in model._get_torch_save_params()[1] if _of(model, k) is not None
        },
        "counts": {"num_timesteps": model.num_timesteps, "_n_updates": getattr(model, "_n_updates", 0)},
        "buffer": None,
    }
    buffer = getattr(model, "replay_buffer", None)
    if buffer is not None:
        used = buffer.buffer_size if buffer.full else buffer.pos
        rows = {k: torch.from_numpy(getattr(buffer, k)[:used].copy()) for k in BUFFER}
        held["buffer"] = {"pos": buffer.pos, "full": buffer.full, "rows": rows}
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(file.name + ".part")
    torch.save(held, half)
    half.replace(file)


def load(file: Path, settings: Settings, seed: int) -> Mapping[str, Any]:
    """Read it; nothing in it is executed.

    Raises:
        DoseloopError: no checkpoint of ours, or one of another run: it says what differs.
    """
    try:
        kept = torch.load(file, weights_only=True)
        before, now = json.loads(kept["settings"]), json.loads(json.dumps(asdict(settings)))
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError) as e:
        raise DoseloopError(f"{file}: no checkpoint of ours ({e}): remove it to begin anew") from None
    bad = [f"{k} {before.get(k)!r}, now {now[k]!r}" for k in now if before.get(k) != now[k]]
    bad += [f"seed {kept['seed']}, now {seed}"] if kept["seed"] != seed else []
    if bad:
        raise DoseloopError([f"{file}: a run with other settings cannot go on with these: {b}" for b in bad])
    return kept


def restore(file: Path, kept: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """Put a checkpoint into a model made from the same settings; what the run kept beside comes back.

    Raises:
        DoseloopError: its arrays do not fit the model.
    """
    try:
        model.set_parameters(dict(kept["parameters"]), exact_match=True, device="cpu")
        with torch.no_grad():
            for name, value in kept["variables"].items():
                _of(model, name).copy_(value)
        for name, value in kept["counts"].items():
            setattr(model, name, value)
        held, buffer = kept["buffer"], getattr(model, "replay_buffer", None)
        if held is not None and buffer is not None:
            for k, rows in held["rows"].items():
                getattr(buffer, k)[: len(rows)] = rows.numpy()
            buffer.pos, buffer.full = held["pos"], held["full"]
    except (ValueError, RuntimeError, KeyError, AttributeError) as e:
        raise DoseloopError(f"{file}: its arrays do not fit this version's model: {e}") from None
    told: dict[str, Any] = json.loads(kept["told"])
    return told


def _of(model: Any, name: str) -> Any:
    """A variable by its dotted name."""
    for part in name.split("."):
        model = getattr(model, part)
    return model
