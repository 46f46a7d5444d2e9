"""The plain forward pass: PyTorch's numbers, the same bits in any batch, and files that cannot do harm."""

import io
import itertools
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from doseloop.pkpd.errors import DoseloopError
from doseloop.policies import network
from doseloop.policies.episodes import play
from doseloop.policies.network import Network
from doseloop.policies.network_file import read, write
from torch import nn

torch.set_num_threads(1)
META = {
    "format": 1,
    "name": "test",
    "activation": "tanh",
    "head": "clip",
    "env": {"id": "doseloop/Glucose-v0", "kwargs": {}},
}


def layers(sizes, seed=0, **more):
    r = np.random.default_rng(seed)
    out = dict(more)
    for k, (a, b) in enumerate(itertools.pairwise(sizes)):
        out[f"w{k}"] = (r.normal(size=(a, b)) / np.sqrt(a)).astype(np.float32)
        out[f"b{k}"] = (0.3 * r.normal(size=b)).astype(np.float32)
    return out


def lstm(inputs, h, seed=0):
    r = np.random.default_rng(seed)
    sides = {"lstm_inner": (inputs, 4 * h), "lstm_own": (h, 4 * h), "lstm_bias": (4 * h,)}
    return {k: (r.normal(size=s) / np.sqrt(h)).astype(np.float32) for k, s in sides.items()}


def in_torch(arrays, activation):
    """The same layers as PyTorch has them."""
    made = []
    for k in range(sum(n.startswith("w") for n in arrays)):
        w = torch.tensor(arrays[f"w{k}"].T.copy())
        layer = nn.Linear(w.shape[1], w.shape[0])
        layer.weight.data, layer.bias.data = w, torch.tensor(arrays[f"b{k}"])
        made += [layer, nn.Tanh() if activation == "tanh" else nn.ReLU()]
    return nn.Sequential(*made[:-1])


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("head", ["clip", "tanh"])
@pytest.mark.parametrize("sizes", [(15, 64, 64, 2), (3, 5), (40, 17, 1)])
def test_it_gives_what_torch_gives(activation, head, sizes):
    arrays = layers(sizes)
    seen = np.random.default_rng(1).normal(size=(50, sizes[0])).astype(np.float32)
    with torch.no_grad():
        mean = in_torch(arrays, activation)(torch.from_numpy(seen))
    expected = (mean.tanh() if head == "tanh" else mean.clip(-1, 1)).numpy()
    got = Network(META | {"activation": activation, "head": head}, arrays).act(seen)
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < 1e-5
    assert np.ptp(expected) > 0.5


def test_a_recurrent_one_remembers_as_torch_does():
    arrays = layers((24, 16, 2)) | lstm(7, 24)
    reference = nn.LSTM(7, 24)
    reference.weight_ih_l0.data = torch.tensor(arrays["lstm_inner"].T.copy())
    reference.weight_hh_l0.data = torch.tensor(arrays["lstm_own"].T.copy())
    reference.bias_ih_l0.data, reference.bias_hh_l0.data = torch.tensor(arrays["lstm_bias"]), torch.zeros(96)
    net = Network(META, arrays)
    seen = np.random.default_rng(2).normal(size=(30, 5, 7)).astype(np.float32)
    with torch.no_grad():
        expected = in_torch(arrays, "tanh")(reference(torch.from_numpy(seen))[0]).clip(-1, 1).numpy()
    for _ in range(2):  # a reset forgets
        net.reset(5)
        got = np.array([net.act(s) for s in seen])
        assert np.abs(got - expected).max() < 1e-5
    with pytest.raises(DoseloopError, match="reset for 5 patients, not 4"):
        net.act(seen[0, :4])


@pytest.mark.parametrize("more", [{}, lstm(15, 15)])
def test_a_batch_changes_no_bit(more):
    net, seen = Network(META, layers((15, 64, 64, 2), **more)), np.random.default_rng(3).normal(size=(33, 15))
    net.reset(33)
    together = net.act(seen)
    for k in range(33):
        net.reset(1)
        assert np.array_equal(net.act(seen[k : k + 1])[0], together[k])


def test_a_file_brings_it_back(tmp_path):
    arrays = layers((15, 8, 2)) | lstm(4, 15)
    path = write(tmp_path / "a" / "x.npz", META | {"curve": [{"steps": 1}]}, arrays)
    meta, again = read(path)
    assert meta["curve"] == [{"steps": 1}]
    assert set(again) == set(arrays)
    assert all(np.array_equal(again[k], arrays[k]) for k in arrays)
    assert network.load(path).inputs == 4
    assert network.load(str(path)).outputs == 2
    assert [p.name for p in path.parent.iterdir()] == ["x.npz"]


def packed(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return out.getvalue()


def npy(array, **how):
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array), **how)
    return out.getvalue()


def forged(shape):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return out.getvalue() + bytes(16)


class Harm:
    """Executed by whoever unpickles it."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def text(**more):
    return npy(np.frombuffer(json.dumps(META | more).encode(), dtype=np.uint8))


GOOD = {f"{k}.npy": npy(v) for k, v in layers((3, 4, 1)).items()}
HOSTILE = {
    "empty": (b"", "no file of a network"),
    "text": (b"#!/bin/sh", "no file of a network"),
    "cut off": (packed({"meta.npy": text(), **GOOD})[:-200], "no file of a network"),
    "a pickle for an array": (
        packed({"meta.npy": text(), **GOOD, "w0.npy": npy(np.array([Harm()]), allow_pickle=True)}),
        "member 'w0.npy': of type object",
    ),
    "a pickle for a file": (pickle.dumps({"a": 1}), "no file of a network"),
    "a forged shape": (packed({"meta.npy": text(), **GOOD, "w0.npy": forged((10**6, 10**6))}), "is not its size"),
    "a shape below zero": (packed({"meta.npy": text(), **GOOD, "w0.npy": forged((-2, -2))}), "is not its size"),
    "a bomb": (packed({"meta.npy": text(), "w0.npy": bytes(10**8)}), "8000000 bytes"),
    "many members": (packed({f"w{k}.npy": b"" for k in range(100)}), "more than 64 members"),
    "no array": (packed({"meta.npy": text(), **GOOD, "w0.npy": b"abc"}), "member 'w0.npy'"),
    "no text": (packed(GOOD), "'meta' is no JSON"),
    "bad text": (packed({**GOOD, "meta.npy": npy(np.frombuffer(b"{", dtype=np.uint8))}), "'meta' is no JSON"),
    "deep text": (packed({**GOOD, "meta.npy": npy(np.full(10**6, 91, dtype=np.uint8))}), "'meta' is no JSON"),
    "a list": (packed({**GOOD, "meta.npy": npy(np.frombuffer(b"[]", dtype=np.uint8))}), "no JSON object"),
    "a later format": (packed({**GOOD, "meta.npy": text(format=2)}), "this version reads format 1"),
    "double precision": (packed({"meta.npy": text(), **GOOD, "w0.npy": npy(np.zeros((3, 4)))}), "float32"),
    "a layer too few": (packed({"meta.npy": text(), **{k: v for k, v in GOOD.items() if k != "b1.npy"}}), "in pairs"),
    "another member": (packed({"meta.npy": text(), **GOOD, "x.npy": GOOD["b0.npy"]}), "in pairs"),
    "half an LSTM": (packed({"meta.npy": text(), **GOOD, "lstm_own.npy": GOOD["w0.npy"]}), "or none"),
    "NaN": (
        packed({"meta.npy": text(), **GOOD, "b0.npy": npy(np.full(4, np.nan, dtype=np.float32))}),
        "'b0' holds what is not finite",
    ),
    "sides that do not meet": (
        packed({"meta.npy": text(), **GOOD, "w1.npy": npy(np.zeros((5, 1), dtype=np.float32))}),
        "layer 0: its sides do not meet",
    ),
    "an LSTM that does not fit": (
        packed({"meta.npy": text(), **GOOD, **{f"{k}.npy": npy(v) for k, v in lstm(3, 9).items()}}),
        "LSTM: its sides do not meet",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_is_no_network_is_refused(tmp_path, case):
    data, complaint = HOSTILE[case]
    path = tmp_path / "bad.npz"
    path.write_bytes(data)
    with pytest.raises(DoseloopError) as told:
        network.load(path)
    assert complaint in str(told.value)
    assert str(path) in str(told.value)


@pytest.mark.parametrize(
    ("told", "complaint"),
    [({}, "choices None"), ({"choices": [2, 0]}, "choices"), ({"choices": [2, 3]}, "gives 4 numbers for choices")],
)
def test_choices_share_out_the_last_layer(tmp_path, told, complaint):
    with pytest.raises(DoseloopError, match=complaint):
        write(tmp_path / "x.npz", META | {"head": "choice", **told}, layers((3, 4)))
    net = Network(META | {"head": "choice", "choices": [2, 2]}, layers((3, 4)))
    seen = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    with torch.no_grad():
        logits = in_torch(net.arrays, "tanh")(torch.from_numpy(seen)).numpy()
    assert np.array_equal(net.act(seen), np.stack([logits[:, :2].argmax(1), logits[:, 2:].argmax(1)], axis=1))


def test_all_that_is_wrong_with_the_text_is_told_at_once(tmp_path):
    path = tmp_path / "bad.npz"
    path.write_bytes(packed({**GOOD, "meta.npy": text(activation="elu", head=3, env={"id": 1}, name="")}))
    with pytest.raises(DoseloopError) as told:
        network.load(path)
    assert len(told.value.problems) == 4
    with pytest.raises(DoseloopError, match="activation 'elu'"):
        write(tmp_path / "y.npz", META | {"activation": "elu"}, layers((3, 1)))
    assert not (tmp_path / "y.npz").exists()


def test_a_name_that_does_not_exist(tmp_path):
    with pytest.raises(DoseloopError, match=r"there are .*glucose-ppo-0"):
        network.load("insulin")
    with pytest.raises(DoseloopError, match="there is no such file"):
        network.load(tmp_path / "x.npz")


@pytest.mark.parametrize("name", network.shipped())
def test_what_ships_is_small_and_fits_its_environment(name):
    path = network.FOLDER / f"{name}.npz"
    assert path.stat().st_size < 100_000
    net = network.load(name)
    assert net.name == name
    env = network.environment(net, num_envs=2, split="test", patients=4)
    seen, _ = env.reset(seed=1)
    net.reset(2)
    for _ in range(3):
        asked = net.act(seen)
        assert asked.shape == (2, net.outputs)
        assert (np.abs(asked) <= 1).all()
        with torch.no_grad():
            mean = in_torch(net.arrays, net.meta["activation"])(torch.from_numpy(seen))
        assert np.abs((mean.tanh() if net.meta["head"] == "tanh" else mean.clip(-1, 1)).numpy() - asked).max() < 1e-5
        seen = env.step(asked)[0]
    for key in ("algorithm", "seed", "hyperparameters", "versions", "curve", "score"):
        assert key in net.meta, key
    assert max(row["score"] for row in net.meta["curve"]) == net.meta["score"]["score"]


def test_it_plays_and_refuses_another_environment():
    net = network.load("glucose-ppo-0")
    played = play(network.environment(net, num_envs=4, patients=4, hours=1), net, seed=3)
    assert played.length.tolist() == [12] * 4
    with pytest.raises(DoseloopError, match=r"reads 15 numbers and gives 2.*are of shapes \(\(35,\), \(2,\)\)"):
        network.environment(net, stack=4)
    with pytest.raises(DoseloopError, match=r"\(n, 15\), not of shape \(2, 3\)"):
        net.act(np.zeros((2, 3)))
