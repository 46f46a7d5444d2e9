"""Cohorts in blocks: no number hangs on the block, the worker, or a kill; summaries beside plain NumPy; the command."""

import dataclasses
import json

import numpy as np
import pytest
from doseloop.cli import main
from doseloop.pkpd.errors import DoseloopError
from doseloop.policies.closed_loop import run
from doseloop.policies.cohort.block import Task, column, file_of, whole
from doseloop.policies.cohort.plan import MANIFEST, Plan, claim
from doseloop.policies.cohort.report import report
from doseloop.policies.cohort.run import run_cohort
from doseloop.policies.cohort.summary import PERCENTILES, summarise
from doseloop.policies.scenes import SCENES
from doseloop.safety import Code
from doseloop.virtual.glucose_cohort import glucose_cohort
from doseloop.virtual.glucose_scores import SCORES, glucose_scores
from doseloop.virtual.ratios import GROUPS

S2008 = "glucose_t1d_uvapadova2008"
N = 24
PLAN = Plan("glucose", S2008, "test", "all", "counted", "basal-bolus", None, True, 0.5, 3, N)
NUMBERS = (*SCORES, "group", "ending")


def of(size, **other):
    return dataclasses.replace(PLAN, size=size, **other)


def kept(plan, folder, patients=N):
    """All numbers of a cohort, patient by patient."""
    return {k: np.concatenate([column(folder, b, k) for b, _, _ in plan.blocks(patients)]) for k in NUMBERS}


def same(a, b):
    return all(np.array_equal(a[k], b[k]) for k in NUMBERS)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """All patients in one block."""
    folder = tmp_path_factory.mktemp("together")
    assert run_cohort(PLAN, N, folder) == N
    return folder


# blocks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 16])
def test_the_size_of_blocks_changes_nothing(together, tmp_path, size):
    plan, n = (of(size), N) if size > 1 else (of(size), 3)
    run_cohort(plan, n, tmp_path)
    got, meant = kept(plan, tmp_path, n), kept(PLAN, together)
    assert same(got, {k: v[:n] for k, v in meant.items()})
    if n == N:
        assert summarise(plan, n, tmp_path)["digest"] == summarise(PLAN, n, together)["digest"]


def test_a_block_is_the_plain_loop_and_its_scores(together):
    scene, people = SCENES["glucose"](), glucose_cohort(S2008, "test", N)
    gate = scene.gate()
    done = run(scene.world(people, "counted", 1), scene.policy("basal-bolus"), gate, 720.0, seed=3)
    got = kept(PLAN, together)
    for k, v in glucose_scores(done.truth).items():
        assert np.array_equal(got[k], v.astype(np.float32)), k
    assert column(together, 0, "guard").tolist() == [gate.counts[c] for c in Code]
    assert np.ptp(got["mean"]) > 10, "everybody alike: the test shows nothing"


def test_a_person_has_the_same_day_in_his_group_and_among_all(together, tmp_path):
    plan = of(3, group="adolescent")
    run_cohort(plan, 5, tmp_path)
    mine = {k: v[1::3][:5] for k, v in kept(PLAN, together).items()}
    assert same(kept(plan, tmp_path, 5), mine)


def test_another_seed_is_another_day(together, tmp_path):
    plan = of(N, seed=4)
    run_cohort(plan, 3, tmp_path)
    assert not np.array_equal(column(tmp_path, 0, "mean"), column(together, 0, "mean")[:3])


def test_a_run_without_records_has_the_same_truth(together):
    scene, people = SCENES["glucose"](), glucose_cohort(S2008, "test", 9)
    runs = [
        run(scene.world(people, "counted", 1), scene.policy("basal-bolus"), scene.gate(), 120.0, records=r)
        for r in (True, False)
    ]
    assert np.array_equal(runs[0].truth, runs[1].truth)
    assert runs[0].asked.shape == (24, 9, 2)
    assert runs[1].asked.shape == runs[1].masks.shape == runs[1].delivered.shape == (0, 9, 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_workers_give_the_same_bits(together, tmp_path, backend):
    plan = of(6)
    assert run_cohort(plan, N, tmp_path, backend=backend, workers=2) == N
    assert same(kept(plan, tmp_path), kept(PLAN, together))


# what a kill leaves --------------------------------------------------------------------------------------------------


def test_a_run_goes_on_after_a_kill(together, tmp_path):
    plan = of(6)

    def killed(done, there):
        if done >= 18:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cohort(plan, N, tmp_path, progress=killed)
    half, damaged = file_of(tmp_path, 1), file_of(tmp_path, 2)
    assert damaged.exists()
    assert not file_of(tmp_path, 3).exists()
    first = file_of(tmp_path, 0).read_bytes()
    half.write_bytes(half.read_bytes()[:-700])
    data = bytearray(damaged.read_bytes())
    data[data.index(np.float32(column(tmp_path, 2, "mean")[4]).tobytes())] ^= 1
    damaged.write_bytes(bytes(data))
    part = tmp_path / "block-000003.npz.0123.part"
    part.write_bytes(b"half of it")
    told = []
    assert run_cohort(plan, N, tmp_path, resume=True, progress=lambda *a: told.append(a)) == 18
    assert told == [(6, 6), (12, 6), (18, 6), (24, 6)]
    assert not part.exists()
    assert file_of(tmp_path, 0).read_bytes() == first, "a block that was whole was run again"
    assert same(kept(plan, tmp_path), kept(PLAN, together))
    assert run_cohort(plan, N, tmp_path, resume=True) == 0


def test_a_cohort_may_grow(together, tmp_path):
    plan = of(6)
    run_cohort(plan, 8, tmp_path)
    task = Task(plan, 1, 6, 2, str(tmp_path))
    assert whole(task)
    assert not whole(dataclasses.replace(task, n=6))
    assert run_cohort(plan, 14, tmp_path, resume=True) == 8, "the block that was cut short, and the third"
    assert same(kept(plan, tmp_path, 14), {k: v[:14] for k, v in kept(PLAN, together).items()})


def test_another_run_s_folder_is_refused(tmp_path):
    claim(PLAN, tmp_path, resume=False)
    claim(PLAN, tmp_path, resume=True)
    with pytest.raises(DoseloopError, match="--resume goes on with it"):
        claim(PLAN, tmp_path, resume=False)
    other = of(5, policy="mpc", seed=9, days=2.0)
    with pytest.raises(DoseloopError) as e:
        claim(other, tmp_path, resume=True)
    said = str(e.value)
    for text in (
        "policy 'basal-bolus', now 'mpc'",
        "seed 3, now 9",
        "days 0.5, now 2.0",
        "patients of a block 24, now 5",
    ):
        assert text in said
    assert "split" not in said
    path = tmp_path / MANIFEST
    data = json.loads(path.read_text())
    data["versions"]["numpy"] = "1.0"
    path.write_text(json.dumps(data))
    with pytest.raises(DoseloopError, match=r"numpy '1\.0', now"):
        claim(PLAN, tmp_path, resume=True)
    path.write_text("{")
    with pytest.raises(DoseloopError, match="no manifest of ours"):
        claim(PLAN, tmp_path, resume=True)
    path.unlink()
    file_of(tmp_path, 0).write_bytes(b"")
    with pytest.raises(DoseloopError, match="1 blocks and no manifest"):
        claim(PLAN, tmp_path, resume=True)


# the summary ---------------------------------------------------------------------------------------------------------


def written(folder, plan, patients):
    """Blocks of invented numbers."""
    rng, rows = np.random.default_rng(5), {}
    for name in SCORES:
        rows[name] = (100.0 * rng.beta(1.0, 60.0 if name.startswith("tbr") else 1.0, patients)).astype(np.float32)
    rows["group"], rows["ending"] = (rng.integers(0, 3, patients).astype(np.int8) for _ in range(2))
    extra = {"guard": np.arange(len(Code)), "seconds": np.ones(5), "cpu": 2.0, "memory": 3.0, "pid": 7}
    for k, first, n in plan.blocks(patients):
        arrays = {name: v[first : first + n] for name, v in rows.items()}
        np.savez(file_of(folder, k), first=first, n=n, **arrays, **extra)
    return rows


def test_the_summary_is_numpy_s(tmp_path):
    plan = of(100)
    rows = written(tmp_path, plan, 950)
    found = summarise(plan, 950, tmp_path)
    assert list(found["scores"]) == ["all", *GROUPS]
    for g in found["scores"]:
        mine = np.ones(950, dtype=bool) if g == "all" else rows["group"] == GROUPS.index(g)
        assert found["persons"][g] == mine.sum()
        for name in SCORES:
            v, got = rows[name][mine].astype(float), found["scores"][g][name]
            assert [got["mean"], got["sd"]] == pytest.approx([np.mean(v), np.std(v, ddof=1)], rel=1e-12)
            assert [got[f"p{p}"] for p in PERCENTILES] == np.percentile(v, PERCENTILES).tolist()
        reach = {"tir": rows["tir"] > 70, "tbr": rows["tbr"] < 4, "tbr54": rows["tbr54"] < 1}
        reach["all of them"] = reach["tir"] & reach["tbr"] & reach["tbr54"]
        assert found["targets"][g] == pytest.approx({k: 100 * v[mine].mean() for k, v in reach.items()})
        assert 0 < found["targets"][g]["all of them"] < found["targets"][g]["tbr54"]
        assert list(found["ended"][g].values())[:2] == [(rows["ending"][mine] == k).sum() for k in (1, 2)]
        assert sum(found["histograms"][g]["tbr"]) == mine.sum()
    assert found["guard"] == {c.name: 10 * k for k, c in enumerate(Code) if k}
    assert found["work"]["cpu_seconds"] == 20.0
    assert report(plan, found).count("\n| time in 70–180 mg/dL, % |") == 4


# the command ---------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_report_a_picture_and_json(tmp_path, capsys):
    options = ["cohort", "glucose", "--patients", "4", "--days", "0.25", "--group", "child", "--out", str(tmp_path)]
    assert main([*options, "--block", "2"]) == 0
    out = capsys.readouterr().out
    assert "4 virtual patients, 0.25 days, basal-bolus" in out
    assert "4 patients in" in out
    assert (tmp_path / "cohort.png").stat().st_size > 20_000
    assert (tmp_path / "cohort.md").read_text(encoding="utf-8").strip() in out
    told = json.loads((tmp_path / "cohort.json").read_text(encoding="utf-8"))
    assert told["plan"]["group"] == "child"
    assert told["persons"] == {"all": 4}
    assert told["run"]["patients"] == 4
    assert main([*options, "--block", "2"]) == 2
    assert "--resume goes on with it" in capsys.readouterr().err
    assert main([*options, "--block", "2", "--resume", "--no-guard"]) == 2
    assert "guard True, now False" in capsys.readouterr().err
    assert main([*options, "--block", "2", "--resume"]) == 0
    assert "0 patients in" in capsys.readouterr().out
    assert json.loads((tmp_path / "cohort.json").read_text(encoding="utf-8"))["digest"] == told["digest"]


def test_the_command_lists_everything_that_is_wrong(tmp_path, capsys):
    wrong = {
        "--patients": "0", "--days": "nan", "--policy": "hal", "--group": "elderly", "--scenario": "feast",
        "--patient": "x1", "--model": "x2", "--split": "dev", "--seed": "-1", "--block": "40000", "--backend": "slurm",
        "--workers": "0", "--cluster": "tcp://x", "--out": str(tmp_path / "file" / "under"),
    }  # fmt: skip
    (tmp_path / "file").write_text("")
    assert main(["cohort", "glucose", *(w for pair in wrong.items() for w in pair)]) == 2
    said = capsys.readouterr().err
    for option, value in wrong.items():
        assert value in said if option == "--out" else f"{option} {value}" in said
    assert (
        main(["cohort", "glucose", "--days", "0.001", "--model", S2008, "--out", str(tmp_path / "file" / "under")]) == 2
    )
    said = capsys.readouterr().err
    assert "--days 0.001: above 0, at most 90, whole decisions of 5 min" in said
    assert "basal-bolus believes in no model" in said
