"""The frame of the benchmarks: in turn, no ratio of unequal work, compared with the last result, pinned peers."""

import importlib
import json
import re

import numpy as np
import pytest
from doseloop import commands
from doseloop.cli import main
from doseloop.pkpd.balance import check_units
from helpers_benchmarks import HOME, benchmarks_imported
from helpers_repository import ROOT

# those whose tables stand in docs/benchmarks.md
PAGES = ("simulation", "twin", "startup", "envs", "training", "to_score", "mpc_peers")


@pytest.fixture(scope="module")
def modules():
    with benchmarks_imported("common", "frame", "report", "peers.environment", "pbpk") as found:
        yield found


SIDE = """
import sys
sys.path.insert(0, {peers!r})
import numpy as np
from worker import serve

def start(folder):
    print("what a library prints must not get between the answers")
    def run(job):
        if job.get("fail"):
            raise ValueError("this cannot be done")
        with open(folder / "log.txt", "a") as f:
            f.write(job["letter"])
        return np.full((1, 2, 1), job["value"])
    return run

serve(start, "numpy")
"""


@pytest.fixture
def frame(modules, tmp_path, monkeypatch):
    f = modules["frame"]
    (tmp_path / "peers").mkdir()
    (tmp_path / "peers" / "side.py").write_text(SIDE.format(peers=str(HOME / "peers")), encoding="utf-8")
    monkeypatch.setattr(f, "HERE", tmp_path)
    monkeypatch.setattr(f, "SHORT", 0.0)
    return f


def test_sides_take_turns_and_their_outputs_are_kept(frame, tmp_path):
    with frame.sides([("A", "side.py", None), ("B", "side.py", None)], tmp_path, lambda text: None) as found:
        assert set(found["A"].versions) == {"numpy"}
        jobs = [frame.Job(n, found[n], {"letter": n, "value": v}, units=10) for n, v in (("A", 1.0), ("B", 2.0))]
        jobs.append(frame.Job("C", found["B"], {"fail": True}))
        times, outputs, failed = frame.interleaved(jobs, 3, tmp_path)
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert log == "AABB" + "AB" * 3  # twice to warm up, then in turn
    assert outputs["B"].tolist() == [[[2.0], [2.0]]]
    assert "this cannot be done" in failed["C"]
    assert set(times) == {"A", "B"}
    assert len(times["A"].cpu) == 3
    assert times["A"].summary()["cpu ms"]["median"] > 0


def test_a_slow_job_is_measured_once(frame, tmp_path):
    with frame.sides([("A", "side.py", None)], tmp_path, lambda text: None) as found:
        jobs = [frame.Job("A", found["A"], {"letter": "A", "value": 1.0})]
        times, _, _ = frame.interleaved(jobs, 3, tmp_path, slow=0.0)
    assert len(times["A"].cpu) == 1


def test_a_side_that_dies_says_why(frame, tmp_path):
    (tmp_path / "peers" / "bad.py").write_text("raise SystemExit('no such library')", encoding="utf-8")
    with pytest.raises(frame.SideError, match="no such library"), frame.sides([("A", "bad.py", None)], tmp_path):
        pass


def test_no_ratio_of_work_that_is_not_equal(modules):
    frame = modules["frame"]
    mine, other = frame.Times(cpu=[1.0, 2.0, 4.0]), frame.Times(cpu=[3.0, 4.0, 20.0])
    assert frame.ratio(other, mine, 1e-7, 1e-6)["median"] == 3.0  # round by round: 3, 2, 5
    for differs in (2e-6, np.inf, np.nan):
        r = frame.ratio(other, mine, differs, 1e-6)
        assert set(r) == {"refused"}
        assert "1e-06 allowed" in r["refused"]


def test_the_difference_is_the_largest_of_the_peak(modules):
    difference = modules["frame"].difference
    truth = np.array([[[1.0, 100.0], [2.0, 50.0]]])
    got = truth.copy()
    got[0, 1, 1] += 1.0
    assert difference(got, truth) == pytest.approx(0.01)
    assert difference(np.concatenate([truth, truth]), truth) == 0.0  # patients that both have
    got[0, 0, 0] = np.nan
    assert difference(got, truth) == np.inf
    assert difference(got[:, :1], truth) == np.inf
    assert difference(got[:0], truth) == np.inf


def result(**ms):
    lines = [{"name": n, "side": n.split("_")[0], "cpu ms": {"median": v}} for n, v in ms.items()]
    return {"machine": {"commit": "abc", "processor": "P"}, "lines": lines}


def test_slower_lines_are_marked_beside_the_last_result(modules):
    compared = modules["report"].compared
    text = compared(result(doseloop_a=1.1, doseloop_b=1.09, doseloop_new=1.0, SciPy_c=3.0), result(
        doseloop_a=1.0, doseloop_b=1.0, doseloop_old=1.0, SciPy_c=2.0))  # fmt: skip
    lines = {line.split()[-1]: line for line in text.splitlines()[1:]}
    assert "SLOWER" in lines["doseloop_a"]
    assert "SLOWER" not in lines["doseloop_b"]
    assert "new" in lines["doseloop_new"]
    assert "gone" in lines["doseloop_old"]
    assert "1 of doseloop's lines" in text
    assert "1.50 × (median)" in text
    assert "no earlier result" in compared(result(), None)


def test_peers_files_hold_exact_versions_and_nothing_else(modules, tmp_path, monkeypatch):
    environment = modules["peers.environment"]
    files = sorted((HOME / "peers").glob("*.txt"))
    assert len(files) >= 6
    for path in files:
        assert environment.pins(path.stem)
    monkeypatch.setattr(environment, "HERE", tmp_path)
    for bad in ("numpy>=2", "--pre", "numpy==2.0 --hash=x", ""):
        (tmp_path / "bad.txt").write_text(f"numpy==2.0\n{bad}\n" if bad else "", encoding="utf-8")
        with pytest.raises(ValueError, match=re.escape("package==version")):
            environment.pins("bad")


def test_numbers_have_three_digits(modules):
    number = modules["report"].number
    told = [number(v) for v in (0.0, 0.012345, 0.9996, 9.999, 123.4, 123456.0, 1e-6)]
    assert told == ["0", "0.0123", "1.00", "10.0", "123", "123,000", "1.0e-06"]


def test_every_benchmark_has_its_script_and_stands_in_help(capsys):
    assert [n for n in commands.BENCHMARKS if not (HOME / f"{n}.py").is_file()] == []
    main(["bench", "--help"])
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in commands.BENCHMARKS)
    assert main(["bench"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(commands.BENCHMARKS)
    assert main(["bench", "nonsense"]) == 2
    assert "there is no benchmark 'nonsense'" in capsys.readouterr().err
    assert main(["bench", "all", "--rounds", "1"]) == 2


def test_without_a_checkout_bench_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(commands, "__file__", str(tmp_path / "commands.py"))
    assert main(["bench", "simulation"]) == 2
    assert "need a checkout" in capsys.readouterr().err


def test_the_stiff_model_balances(modules):
    check_units(modules["pbpk"].pbpk())


@pytest.fixture(scope="module")
def scripts(modules):
    """The benchmarks that keep a page, imported once."""
    return {name: importlib.import_module(name) for name in PAGES}


def test_a_method_is_judged_by_its_cheapest_setting_within_the_target(scripts, modules):
    Times = modules["frame"].Times
    settings = {
        "doseloop a @1": (1e-3, 1.0),  # too far off
        "doseloop a @2": (1e-7, 3.0),
        "doseloop a @3": (1e-9, 2.0),  # better and cheaper
        "peer b @1": (1e-8, 6.0),
        "peer c @1": (1e-2, 1.0),
        "peer c @2": (1e-4, 5.0),  # never there: the nearest is shown
    }
    points = [
        {"method": k.partition(" @")[0], "setting": k.partition(" @")[2], "difference": d, "cpu ms": {"median": ms}}
        for k, (d, ms) in settings.items()
    ]
    times = {k: Times(cpu=[ms]) for k, (_, ms) in settings.items()}
    lines = scripts["simulation"].chosen("x", 1e-6, points, times, {"peer d @1": "it broke"})
    found = {line["name"]: line for line in lines}
    assert found["x: doseloop a"]["setting"] == "3"
    assert "ratio" not in found["x: doseloop a"]
    assert found["x: peer b"]["ratio"]["median"] == 3.0
    assert found["x: peer c"]["setting"] == "2"
    assert "1.0e-04" in found["x: peer c"]["ratio"]["refused"]
    assert found["x: peer d"]["failed"] == "it broke"
    with pytest.raises(modules["frame"].SideError, match="no setting of doseloop"):
        scripts["simulation"].chosen("x", 1e-12, points, times, {})


@pytest.mark.parametrize("name", PAGES)
def test_the_page_s_tables_are_those_of_the_results(name, scripts):
    told = json.loads((HOME / "results" / f"{name}.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert scripts[name].page(told).strip() in page, f"doseloop bench {name} --write"
    for line in told["lines"]:
        assert "failed" in line or line["cpu ms"]["median"] > 0
