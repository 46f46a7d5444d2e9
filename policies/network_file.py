"""The file of a trained network: one ``.npz`` of float32 arrays and one text in JSON. Reading it executes nothing.

| member | what |
|---|---|
| ``meta`` | UTF-8 of a JSON object, as bytes (uint8) |
| ``w0``, ``b0``, ``w1``, … | layers of the MLP: matrix (inputs, outputs) and bias (outputs,) |
| ``lstm_inner``, ``lstm_own``, ``lstm_bias`` | where it is recurrent: (inputs, 4 h), (h, 4 h), (4 h,) |

``meta`` must hold ``format`` (1), ``name``, ``activation``, ``head`` and ``env``: ``{"id": …, "kwargs": {…}}``, the
environment whose observations it reads and whose actions it gives; with the head "choice" (doses on a grid) also
``choices``: places of each lever's grid, which share out the last layer. The trainer adds how it came about:
``algorithm``, ``seed``, ``hyperparameters``, ``versions``, ``git``, ``curve``, ``score`` (docs/training.md).

Every header is read before its array, and a member whose size is not what its header says is refused, so that neither a
pickle nor a forged shape reaches NumPy.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..pkpd.errors import DoseloopError
from .network_pass import ACTIVATIONS, HEADS

__all__ = ["FORMAT", "read", "write"]

FORMAT = 1
LARGEST = 8_000_000  # bytes of all members unpacked: a hundred times what any of ours takes
MEMBERS = 64
LSTM = ("lstm_inner", "lstm_own", "lstm_bias")


def write(path: Path, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Path:
    """Write a network, whole or not at all.

    Raises:
        DoseloopError: what `read` would refuse.
    """
    weights = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in arrays.items()}
    bad = _faults(meta, weights)
    if bad:
        raise DoseloopError([f"{path}: {b}" for b in bad])
    text = np.frombuffer(json.dumps(meta, allow_nan=False, ensure_ascii=False).encode(), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".part")
    with half.open("wb") as file:
        np.savez_compressed(file, meta=text, **weights)  # type: ignore[arg-type]
    half.replace(path)
    return path


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The text and the arrays of a network's file.

    Raises:
        DoseloopError: no such file, or what is wrong with it.
    """
    if not path.is_file():
        raise DoseloopError(f"{path}: there is no such file")
    bad: list[str] = []
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as file:
            inside = file.infolist()
            if len(inside) > MEMBERS or sum(i.file_size for i in inside) > LARGEST:
                raise DoseloopError(f"{path}: no network of ours: more than {MEMBERS} members or {LARGEST} bytes")
            for member in inside:
                try:
                    arrays[member.filename.removesuffix(".npy")] = _array(file.read(member))
                except (ValueError, SyntaxError, EOFError) as e:
                    bad.append(f"member '{member.filename}': {e}")
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as e:
        raise DoseloopError(f"{path}: no file of a network (an .npz is meant): {e}") from None
    meta: Any = None
    try:
        meta = json.loads(arrays.pop("meta", np.zeros(0, dtype=np.uint8)).tobytes())
    except (ValueError, RecursionError) as e:
        bad.append(f"member 'meta' is no JSON: {e}")
    bad += _faults(meta, arrays) if not bad else []
    if bad:
        raise DoseloopError([f"{path}: {b}" for b in bad])
    return meta, arrays


def _array(data: bytes) -> np.ndarray:
    """One member; its header is checked against its size before anything is allocated."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("not version 1.0 of NumPy's format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype not in (np.dtype("<f4"), np.dtype("u1")) or fortran:
        raise ValueError(f"of type {dtype}{' in Fortran order' if fortran else ''}; float32 (meta: uint8) is meant")
    size = 1
    for side in shape:
        size *= side
    if min(shape, default=1) < 0 or size * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"its shape {shape} is not its size")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)


def _faults(meta: Any, arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Everything that is wrong with a network."""
    if not isinstance(meta, Mapping):
        return ["member 'meta' is no JSON object"]
    if meta.get("format") != FORMAT:
        return [f"format {meta.get('format')!r}; this version reads format {FORMAT}"]
    bad = [] if isinstance(meta.get("name"), str) and meta["name"] else ["meta: 'name' is a text"]
    for key, known in (("activation", ACTIVATIONS), ("head", HEADS)):
        bad += [] if meta.get(key) in known else [f"meta: {key} {meta.get(key)!r}; there are {', '.join(known)}"]
    if meta.get("head") == "choice":
        many = meta.get("choices")
        if not (isinstance(many, list) and many and all(type(k) is int and k > 0 for k in many)):
            bad.append(f"meta: choices {many!r}; a list of whole numbers above 0 is meant")
    env = meta.get("env")
    if not (isinstance(env, Mapping) and isinstance(env.get("id"), str) and isinstance(env.get("kwargs"), Mapping)):
        bad.append("meta: 'env' holds 'id' (text) and 'kwargs' (object)")
    layers = sum(1 for k in arrays if k.startswith("w"))
    names = [f"{k}{i}" for i in range(layers) for k in "wb"]
    recurrent = any(k in arrays for k in LSTM)
    names += LSTM if recurrent else ()
    if not layers or set(arrays) != set(names):
        return [
            *bad,
            f"members {sorted(arrays)}; w0, b0, w1, … in pairs are meant, and all of {', '.join(LSTM)} or none",
        ]
    for name, a in arrays.items():
        want = 1 if name.startswith("b") or name == "lstm_bias" else 2
        if a.dtype != np.float32 or a.ndim != want or not a.size:
            bad.append(f"member '{name}': {a.dtype} of shape {a.shape}; float32 with {want} sides is meant")
        elif not np.isfinite(a).all():
            bad.append(f"member '{name}' holds what is not finite")
    bad = bad or _misfits(arrays, layers, recurrent)
    if not bad and meta["head"] == "choice" and sum(meta["choices"]) != len(arrays[f"b{layers - 1}"]):
        bad.append(f"the last layer gives {len(arrays[f'b{layers - 1}'])} numbers for choices {meta['choices']}")
    return bad


def _misfits(arrays: Mapping[str, np.ndarray], layers: int, recurrent: bool) -> list[str]:
    """Sides that do not meet."""
    bad = []
    for i in range(layers):
        w, b = arrays[f"w{i}"], arrays[f"b{i}"]
        if w.shape[1] != len(b) or (i + 1 < layers and arrays[f"w{i + 1}"].shape[0] != len(b)):
            bad.append(f"layer {i}: its sides do not meet: {w.shape}, then {b.shape}")
    if recurrent:
        inner, own, bias = (arrays[k] for k in LSTM)
        h = arrays["w0"].shape[0]
        if own.shape != (h, 4 * h) or inner.shape[1] != 4 * h or len(bias) != 4 * h:
            bad.append(f"LSTM: its sides do not meet: {inner.shape}, {own.shape}, {bias.shape}, then {h} features")
    return bad
