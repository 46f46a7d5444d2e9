"""Policies judged: the same patients for all, whatever the blocks; numbers with honest intervals; a report."""

import json

import numpy as np
import pytest
from doseloop.cli import main
from doseloop.pkpd.errors import DoseloopError
from doseloop.policies.evaluation import statistics as s
from doseloop.policies.evaluation.arms import ARMS, ENVS, arm
from doseloop.policies.evaluation.console import played
from doseloop.policies.evaluation.contestants import contestants
from doseloop.policies.evaluation.match import Result, environment, match, seeds_of
from doseloop.policies.evaluation.report import number, report
from doseloop.policies.evaluation.saved import Saved, settled
from doseloop.policies.evaluation.summary import differences, summary
from doseloop.policies.network_file import write
from scipy import stats

GLUCOSE, VANCOMYCIN, PROPOFOL = ENVS["glucose"], ENVS["vancomycin"], ENVS["propofol"]
RNG = np.random.default_rng(5)


def one(env, policy, arm="nominal", patients=24, **how):
    (result,) = match(env, [policy], [arm], patients, 20_000, **how)
    return result


def same(a, b):
    return all(
        np.array_equal(getattr(a, k), getattr(b, k)) for k in ("seeds", "who", "returns", "cost", "ended")
    ) and all(np.array_equal(a.scores[k], b.scores[k]) for k in a.scores)


# numbers
# -------


def test_the_bootstrap_is_scipys():
    values = RNG.gamma(2.0, 3.0, 200)
    for statistic in (s.mean, s.iqm, s.median):
        own = s.bootstrap(values, statistic, draws=20_000)
        theirs = stats.bootstrap(
            (values,), lambda v, axis, of=statistic: of(v), method="percentile", n_resamples=20_000, rng=1, batch=2000
        ).confidence_interval
        assert own.value == float(statistic(values))
        width = theirs.high - theirs.low
        assert abs(own.low - theirs.low) < 0.03 * width
        assert abs(own.high - theirs.high) < 0.03 * width
    assert s.iqm(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_the_interval_of_a_mean_covers_it():
    """500 samples of 60: the truth lies in 95 % intervals about that often (percentile's are a little short)."""
    covered = 0
    for k in range(500):
        e = s.bootstrap(np.random.default_rng(k).normal(3.0, 2.0, 60), draws=400, seed=k)
        covered += e.low <= 3.0 <= e.high
    assert 0.90 <= covered / 500 <= 0.975


def test_strata_are_kept():
    """All of the spread lies between the strata: resampling within them leaves none."""
    values, strata = np.repeat([0.0, 10.0], 50), np.repeat(["child", "adult"], 50)
    inside, blind = s.bootstrap(values, s.mean, strata), s.bootstrap(values)
    assert (inside.low, inside.high) == (5.0, 5.0)
    assert blind.high - blind.low > 1.0


def test_the_worst_are_the_lowest_twentieth():
    values = RNG.permutation(np.arange(100.0))
    assert s.worst(values) == 2.0  # 0 … 4
    assert s.worst(values[:10]) == values[:10].min()
    assert s.worst(np.stack([values, -values])).tolist() == [2.0, -97.0]


def test_paired_differences_are_narrower():
    patient = RNG.normal(0, 10, 300)
    a, b = patient + RNG.normal(0.5, 0.5, 300), patient + RNG.normal(0, 0.5, 300)
    d = s.paired(a, b)
    assert d.low > 0
    assert d.high - d.low < 0.2 * (s.bootstrap(a).high - s.bootstrap(a).low)
    with pytest.raises(DoseloopError, match="against"):
        s.paired(a, b[1:])


def test_a_profile_is_the_share_that_did_as_well():
    values, at = np.array([-3.0, -1.0, -1.0, 0.0]), np.array([-4.0, -1.0, -0.5, 0.0, 1.0])
    share, low, high = s.profile(values, at)
    assert share.tolist() == [1.0, 0.75, 0.25, 0.25, 0.0]
    assert (low <= share).all()
    assert (share <= high).all()


def test_what_cannot_be_resampled_is_said():
    for values, strata in (([], None), ([1.0, np.nan], None), ([1.0, 2.0], np.array(["a"]))):
        with pytest.raises(DoseloopError, match="bootstrap"):
            s.bootstrap(np.array(values), strata=strata)
    infinite = s.bootstrap(np.array([1.0, 2.0, 3.0, np.inf, 2.0, 1.0, 2.0]), s.median)
    assert infinite.value == 2.0


# the match
# ---------


def test_every_episode_is_another_patient():
    seeds = seeds_of(VANCOMYCIN, 40, 20_000, 80)
    env = environment(VANCOMYCIN, 40, 80)
    env.reset(seed=list(seeds))
    assert len(set(env.unwrapped.world.who.tolist())) == 40
    assert list(seeds) == sorted(seeds)
    assert seeds_of(VANCOMYCIN, 10, 20_000, 80) == seeds[:10]
    assert seeds[-1] - seeds[0] > 39, "some seeds were passed over, or this test shows nothing"
    with pytest.raises(DoseloopError, match="81 patients of 80"):
        seeds_of(VANCOMYCIN, 81, 0, 80)


@pytest.mark.parametrize("policy", ["random", "usual", "mpc"])
def test_the_size_of_a_block_changes_nothing(policy):
    whole, parts = (one(VANCOMYCIN, policy, size=k) for k in (24, 7))
    assert same(whole, parts)
    assert len(whole) == 24


def test_everybody_meets_the_same_patients():
    rows = list(match(VANCOMYCIN, ["random", "usual", "nomogram"], ["nominal", "other"], 12))
    assert [(r.policy, r.arm) for r in rows] == [
        (p, a) for a in ("nominal", "other") for p in ("random", "usual", "nomogram")
    ]
    assert len({r.who.tobytes() for r in rows}) == len({r.seeds.tobytes() for r in rows}) == 1
    assert len({r.returns.tobytes() for r in rows}) == 6


@pytest.mark.parametrize("env", list(ENVS.values()))
def test_the_arms_are_environments(env):
    for where in ARMS[env]:
        made = environment(env, 4, 9, **where.keywords)
        made.reset(seed=0)
        assert made.unwrapped.guard is (where.name != "unguarded")
        plants = {
            "other": made.unwrapped.world.people.model.id != environment(env, 1, 9).unwrapped.world.people.model.id
        }
        assert plants.get(where.name, True)


def test_a_network_that_reads_a_belief_keeps_its_own_twin(tmp_path, capsys):
    """It is judged as any other is; where the patient is another model its twin stays what it was trained with."""
    reads, rng = 29, np.random.default_rng(3)
    weights = {"w0": 0.1 * rng.normal(size=(reads, 1)), "b0": np.full(1, -0.8)}
    told = {"id": PROPOFOL, "kwargs": {"observation": "belief", "twin": "propofol_eleveld2018", "minutes": 90.0}}
    meta = {"format": 1, "name": "b", "activation": "tanh", "head": "clip", "env": told}
    file = str(write(tmp_path / "b.npz", meta, {k: v.astype(np.float32) for k, v in weights.items()}))
    (who,) = contestants(PROPOFOL, [file])
    assert who.keywords == {"observation": "belief", "twin": "propofol_eleveld2018"}  # minutes are the evaluation's
    made = environment(PROPOFOL, 2, 4, **who.keywords, **arm(PROPOFOL, "other").keywords).unwrapped
    assert made.world.people.model.id == "propofol_adult_bouillon2004"
    assert made.believed.follow.model.id == "propofol_eleveld2018"
    rows = list(match(PROPOFOL, [file, "zero"], ["nominal", "other"], 3, overrides={"minutes": 10.0}))
    assert all(r.decisions == 3 * 120 for r in rows)
    assert all((a.returns > b.returns).all() for a, b in zip(rows[::2], rows[1::2]))
    how = ("evaluate", "propofol", "--policies", file, "--patients", "2", "--out", str(tmp_path / "out"))
    assert main(list(how)) == 0
    assert "| network b |" in capsys.readouterr().out


def test_a_run_that_ended_counts_to_its_horizon():
    """No insulin, unguarded and with meals: some runs end; each minute left counts, in the reward and the scores."""
    r = one(GLUCOSE, "zero", "unguarded", 30)
    assert r.ended.any()
    assert (r.parts["reward/end"][r.ended] < 0).all()
    assert (r.returns[r.ended] < r.returns[~r.ended].mean()).all() if (~r.ended).any() else True
    lost = r.scores["tar"][r.ended]
    assert lost.min() > 30.0, "glucose above 600 stays above 180 until the end"
    assert r.decisions < 30 * 288
    assert r.parts["reward/risk"] + r.parts["reward/end"] == pytest.approx(r.returns)


def test_clinical_scores_are_in_the_tables():
    for env in (VANCOMYCIN, ENVS["phenobarbital"]):
        r = one(env, "usual", patients=8)
        found = summary(r)
        inside, below, above = list(found.scores.values())[:3]
        assert inside.value + below.value + above.value == pytest.approx(100.0)


def test_names_that_are_none_are_all_told():
    with pytest.raises(DoseloopError) as e:
        list(match(VANCOMYCIN, ["usual", "pid", "mcp"], ["nominal", "unannounced"], 4))
    text = str(e.value)
    assert all(k in text for k in ("'pid'", "'mcp'", "'unannounced'", "nomogram", "shifted"))
    with pytest.raises(DoseloopError, match="one published model"):
        arm(ENVS["phenobarbital"], "other")
    with pytest.raises(DoseloopError, match="no policy"):
        contestants(VANCOMYCIN, [])


# what is kept and said
# ---------------------


def test_what_is_kept_is_what_was_reported(tmp_path):
    path = tmp_path / "a.json"
    saved = played(Saved(PROPOFOL, 6, 5, 12), ["zero", "usual"], ["nominal"], path, minutes=4.0)
    again = Saved.read(path)
    assert report(again) == report(saved)
    for key, r in saved.rows.items():
        assert same(r, again.rows[key])
        assert same(settled(r), r)
    assert again.about["usual", "nominal"]["made"]["versions"]["doseloop"]
    assert np.isinf(again.rows["zero", "nominal"].scores["settling"]).all(), "nobody fell asleep: infinite is kept"
    raw = json.loads(path.read_text())
    assert len(raw["seeds"]) == 6
    assert len(path.read_text().splitlines()) < 120, "a list of numbers is one line"
    path.write_text('{"format": 2}')
    with pytest.raises(DoseloopError, match="format 2"):
        Saved.read(path)


def test_rows_that_are_there_are_not_played_again(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    first = played(Saved(VANCOMYCIN, 6, 5, 12), ["usual"], ["nominal"], path)
    asked = []
    real = match.__globals__["block"]

    def block(task):
        asked.append(task.policy)
        return real(task)

    monkeypatch.setitem(match.__globals__, "block", block)
    both = played(Saved.read(path), ["usual", "nomogram"], ["nominal"], path)
    assert asked == ["nomogram"]
    assert same(both.rows["usual", "nominal"], first.rows["usual", "nominal"])
    assert list(Saved.read(path).rows) == [("usual", "nominal"), ("nomogram", "nominal")]


def test_differences_are_those_of_the_same_patients():
    rows = {r.policy: r for r in match(VANCOMYCIN, ["usual", "mpc", "oracle"], ["nominal"], 12)}
    found = {(d.policy, d.than): d for d in differences(rows)}
    assert set(found) == {("mpc", "usual"), ("oracle", "usual"), ("oracle", "mpc")}
    d = found["oracle", "mpc"]
    assert d.returns.value == pytest.approx((rows["oracle"].returns - rows["mpc"].returns).mean())
    strangers = {"usual": rows["usual"], "mpc": one(VANCOMYCIN, "mpc", patients=11)}
    with pytest.raises(ValueError, match="same patients"):
        differences(strangers)


@pytest.mark.parametrize(
    ("x", "text"), [(0.0, "0"), (1e-6, "0"), (0.01234, "0.0123"), (-7.0, "-7"), (123456.7, "123457"), (99.96, "100")]
)
def test_numbers_are_short(x, text):
    assert number(x) == text


def test_the_command(tmp_path, capsys):
    how = ["evaluate", "phenobarbital", "--policies", "random,usual", "--patients", "8", "--arms", "nominal,shifted"]
    assert main([*how, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "95 % intervals" in out
    assert "| usual protocol |" in out
    assert "## shifted" in out
    files = {p.suffix: p for p in tmp_path.glob("evaluate-phenobarbital.*")}
    assert set(files) == {".md", ".png", ".json"}
    assert files[".png"].stat().st_size > 20_000
    assert main([*how, "--resume", "--out", str(tmp_path)]) == 0
    again = capsys.readouterr().out
    assert again == out
    assert main([*how, "--seed", "1", "--resume", "--out", str(tmp_path)]) == 2
    assert "from seed 20000" in capsys.readouterr().err


def test_the_command_tells_all_that_is_wrong(tmp_path, capsys):
    code = main(
        [
            *("evaluate", "phenobarbital", "--policies", "usuall", "--arms", "other", "--patients", "1"),
            *("--backend", "slurm", "--out", str(tmp_path)),
        ]
    )
    err = capsys.readouterr().err
    assert code == 2
    assert all(k in err for k in ("'usuall'", "no arm 'other'", "--patients 1", "--backend slurm"))


def test_joined_blocks_are_in_order():
    a, b = (one(VANCOMYCIN, "usual", patients=k) for k in (4, 6))
    assert isinstance(Result.joined([a, b]), Result)
    assert Result.joined([a, b]).seeds.tolist() == [*a.seeds, *b.seeds]
