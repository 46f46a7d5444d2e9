"""The predictive safety filter: what is safe passes untouched, what is not is lowered to what is, and it says so."""

import gymnasium
import numpy as np
import pytest
from doseloop.pkpd.errors import DoseloopError
from doseloop.policies import network_file
from doseloop.policies.episodes import play
from doseloop.policies.evaluation.contestants import contestants
from doseloop.policies.evaluation.match import match
from doseloop.policies.foresight import Foresight, foresight_of
from doseloop.policies.levers import doses_of
from doseloop.policies.shield import ACCEPTED, BLIND, LOWERED, REFUSED, RULED, Shield

ENV = "doseloop.envs:doseloop/{}-v0"
RNG = np.random.default_rng(3)


def made(name, n, **how):
    return gymnasium.make_vec(ENV.format(name), num_envs=n, split="validation", patients=9, **how)


class Threshold(Foresight):
    """Amounts up to a threshold are safe; below 0 nothing is, NaN is no forecast."""

    bound, unit, increment, draws = "it holds in each", "U", 0.05, 4

    def __init__(self, most):
        self.most, self.asked = np.array(most, dtype=float), 0

    def reset(self, known, n):
        pass

    def see(self, seen):
        pass

    def amount(self, doses):
        return doses.sum(axis=1)

    def margin(self, lanes, amounts):
        self.asked += len(lanes)
        return self.most[lanes] - amounts


def test_the_nearest_safe_dose_is_found_to_an_increment():
    most = np.concatenate([RNG.uniform(0, 20, 400), [-1.0, np.nan, 30.0, 5.0, 0.01]])
    wished = np.concatenate([RNG.uniform(0, 25, 400), [3.0, 3.0, 3.0, 0.0, 10.0]])
    shield = Shield(None, Threshold(most))
    given = shield.shares(wished) * wished
    safe = wished <= most
    assert np.array_equal(given[safe], wished[safe]), "what is safe passes, bit for bit"
    lowered = ~safe[:400]
    assert (given[:400][lowered] <= most[:400][lowered]).all()
    short = np.minimum(most, wished)[:400] - given[:400]
    assert short.max() <= 2 * Threshold.increment, "the most that is safe, less what the pump cannot tell apart"
    assert shield.verdict[400:].tolist() == [REFUSED, BLIND, ACCEPTED, ACCEPTED, REFUSED]
    assert given[400:].tolist() == [0.0, 0.0, 3.0, 0.0, 0.0]
    assert set(shield.verdict[:400]) == {ACCEPTED, LOWERED} | ({REFUSED} if (most[:400] < 0.05).any() else set())


def test_safe_amounts_in_an_island_above_unsafe_ones_are_not_taken():
    class Island(Threshold):
        def margin(self, lanes, amounts):
            return np.where((amounts < 2) | ((amounts > 6) & (amounts < 9)), 1.0, -1.0)

    assert Shield(None, Island([0.0])).shares(np.array([10.0]))[0] * 10 < 2


@pytest.mark.parametrize(
    ("name", "action"),
    [("Glucose", a) for a in ("multiple", "rate", "dose")]
    + [("Propofol", a) for a in ("multiple", "rate", "dose")]
    + [("Vancomycin", a) for a in ("dose", "usual")]
    + [("Phenobarbital", a) for a in ("per kg", "dose", "usual")],
)
def test_levers_mean_what_the_environment_gives(name, action):
    """What an unguarded environment hands to the pump is what is foreseen: over meals, and before the first reading."""
    n, steps = (48, 150) if name == "Glucose" else (12, 60)
    env = made(name, n, action=action, guard=False)
    env.reset(seed=4)
    base, met, over = env.unwrapped, 0, np.zeros(n, dtype=bool)
    for _ in range(min(steps, base.horizon)):
        actions = RNG.uniform(-1, 1, env.action_space.shape)
        levers = base.actions.asked(actions, n, np.empty(env.action_space.shape))
        doses, meals = doses_of(base, levers.copy()), getattr(base.seen, "announced", np.zeros(n)) > 0
        met += int(meals.sum())
        *_, terminated, truncated, info = env.step(actions)
        assert info["allowed"][~over] == pytest.approx(doses[~over], rel=1e-12)
        over = terminated | truncated  # the next step begins another episode and gives nothing
    assert met > 60 or name != "Glucose"


def most_of_everything(env, observations):
    return np.ones(env.action_space.shape)


@pytest.mark.parametrize(("name", "how"), [("Glucose", {"hours": 5, "start": 11}), ("Propofol", {"minutes": 12})])
def test_an_overdose_becomes_treatment(name, how):
    """The most of everything, all the time, without the environment's guard: it kills, or sends far too deep."""
    env = made(name, 6, guard=False, **how)
    alone = play(env, most_of_everything, 5)
    shield = Shield.of(env.unwrapped, most_of_everything)
    behind = play(env, shield, 5)
    low = {"Glucose": 54.0, "Propofol": 40.0}[name]
    assert (alone.truth < low).any(axis=1).all()
    # one in induction is more sensitive than any draw of the population: nothing is known of him yet
    assert (behind.truth < low).any(axis=1).sum() <= {"Glucose": 0, "Propofol": 1}[name]
    assert behind.cost.sum() <= 0.1 * alone.cost.sum()
    told = shield.told()
    assert (told["changed"] > 0).all()
    assert (told["changed"] <= behind.length).all()
    assert (told["withheld"] > 0.5 * told["asked"]).all()
    assert not told["failed"].any()
    assert "Asked" in shield.sentence(0) or "as asked" in shield.sentence(0)


def test_what_it_says_it_allows_is_what_is_given():
    env = made("Glucose", 8, guard=False, action="dose", hours=3)
    base = env.unwrapped
    env.reset(seed=1)
    shield = Shield.of(base, lambda e, o: RNG.uniform(-1, 0.5, e.action_space.shape))
    shield.begin(base)
    lowered = 0
    for _ in range(36):
        *_, info = env.step(shield(base, None))
        assert shield.foresight.amount(info["allowed"]) == pytest.approx(shield.allowed, rel=1e-9, abs=1e-12)
        lowered += int((shield.verdict == LOWERED).sum())
    assert lowered > 10
    assert (shield.counts.sum(axis=1) == 36).all()


@pytest.mark.parametrize(
    ("name", "how"),
    [("Glucose", {"hours": 8}), ("Propofol", {"minutes": 20}), ("Vancomycin", {}), ("Phenobarbital", {})],
)
def test_what_a_guarded_policy_asks_for_the_plain_rules_let_through(name, how):
    env = made(name, 10, **how)
    rng = np.random.default_rng(8)
    wild = lambda e, o: rng.uniform(-1, 1, e.action_space.shape)  # noqa: E731
    alone = play(env, wild, 7)
    shield = Shield.of(env.unwrapped, wild)
    said = set()

    def noted(e, o):
        out = shield(e, o)
        said.update(shield.sentence(k) for k in np.flatnonzero(shield.verdict == RULED))
        return out

    noted.begin = shield.begin
    behind = play(env, noted, 7)
    assert alone.parts["cost/guard"].sum() > 10
    assert behind.parts["cost/guard"].sum() == 0
    assert shield.told()["ruled"].sum() > 0
    assert said
    assert all("passes the plain rules (" in s for s in said), "reasons by name"
    assert not any("()" in s for s in said)


def test_a_safe_policy_is_untouched():
    env = made("Phenobarbital", 6)
    nothing = lambda e, o: np.full(e.action_space.shape, -1.0, dtype=np.float32)  # noqa: E731
    shield = Shield.of(env.unwrapped, nothing)
    behind, alone = play(env, shield, 2), play(env, nothing, 2)
    assert np.array_equal(behind.truth, alone.truth)
    assert not shield.told()["changed"].any()


def test_more_is_never_safer():
    for name, amounts in (("Glucose", (0.0, 0.5, 2.0, 8.0)), ("Vancomycin", (0.0, 500.0, 2000.0))):
        env = made(name, 5)
        env.reset(seed=0)
        ahead = foresight_of(env.unwrapped, draws=8)
        ahead.reset(dict(env.unwrapped.known), 5)
        ahead.see(env.unwrapped.seen)
        lanes = np.arange(5)
        found = np.array([ahead.margin(lanes, np.full(5, a)) for a in amounts])
        assert (np.diff(found, axis=0) < 0).all()
        assert np.array_equal(ahead.margin(lanes[::-1].copy(), np.full(5, amounts[1])), found[1][::-1])


def test_a_ward_s_forecast_is_the_forecast_of_that_dose():
    env = made("Vancomycin", 4, action="dose")
    env.reset(seed=0)
    base = env.unwrapped
    ahead = foresight_of(base, draws=6)
    ahead.reset({k: v.copy() for k, v in base.known.items()}, 4)
    for step in range(5):
        ahead.see(base.seen)
        mind = ahead.mind
        p, state, past, _ = _again(mind)
        d = np.zeros((4, mind.horizon))
        d[:, 0] = [0.0, 500.0, 1000.0, 2000.0]
        areas, levels = mind.response(p, state, d, np.full(d.shape, mind.therapy.action.duration(1.0, 1.0)))
        before = np.stack(past[:1], axis=2) if past else np.zeros((4, 6, 0))
        every = np.concatenate([before, areas], axis=2)
        day = every[:, :, 1:] + every[:, :, :-1] if step else np.concatenate(
            [every[:, :, :1], every[:, :, 1:] + every[:, :, :-1]], axis=2
        )  # fmt: skip
        worst = np.sort(677.0 - day.max(axis=2), axis=1)[:, int(0.2 * 6)]
        trough = np.sort(20.0 - levels[..., -1].max(axis=2), axis=1)[:, int(0.35 * 6)]
        assert ahead.margin(np.arange(4), d[:, 0]) == pytest.approx(np.minimum(worst, trough), rel=1e-9, abs=1e-9)
        env.step(np.full((4, 1), -0.3))


def _again(mind):
    """What `perceive` told, without taking in the same again."""
    twin = mind.tracker
    return twin.parameters, twin.state, [twin.areas[:, 0]] if twin.count[0] else [], None


@pytest.mark.parametrize("grid", [list(range(0, 3001, 250)), [3000, 0, 500, 1000]], ids=["steps", "in no order"])
def test_on_a_grid_it_is_the_place_next_below(grid):
    env, top = made("Vancomycin", 8, action="dose", grid=grid), int(np.argmax(grid))
    base, values = env.unwrapped, np.array(grid)
    shield, lowered = Shield.of(base, lambda e, o: np.full(8, top)), 0
    env.reset(seed=3)
    shield.begin(base)
    for _ in range(6):
        places = shield(base, None)
        assert places.dtype.kind == "i"
        *_, info = env.step(places)
        assert shield.allowed == pytest.approx(values[places])
        margin = shield.foresight.margin(np.arange(8), values[places].astype(float))
        assert (margin[values[places] > 0] >= -1e-9).all(), "what is given is safe"
        assert not info["cost/guard"].any()
        lowered += int((values[places] < values[top]).sum())
    assert lowered > 10


def test_levers_that_do_not_begin_at_nothing_are_refused():
    env = made("Vancomycin", 2, action="dose", grid=range(250, 3001, 250))
    with pytest.raises(DoseloopError, match="from 0 up"):
        play(env, Shield.of(env.unwrapped, most_of_everything), 0)


def test_a_patient_of_two_drugs_has_no_place_where_one_is_given():
    with pytest.raises(DoseloopError, match=r"remifentanil ug/min; this environment gives propofol mg/min"):
        made("Propofol", 2, model="propofol_remifentanil_bouillon2004")


# networks in a match
# -------------------


@pytest.fixture
def net(tmp_path):
    """A network of eight numbers that a day on vancomycin gives, its weights at random."""

    def write(id="doseloop/Vancomycin-v0", inputs=None, **kwargs):
        width = inputs or made("Vancomycin", 1).single_observation_space.shape[0]
        meta = {"format": 1, "name": "toy", "activation": "tanh", "head": "clip", "env": {"id": id, "kwargs": kwargs}}
        rng = np.random.default_rng(0)
        arrays = {
            "w0": 0.1 * rng.normal(size=(width, 8)),
            "b0": np.zeros(8),
            "w1": rng.normal(size=(8, 1)),
            "b1": [0.0],
        }
        return str(network_file.write(tmp_path / "toy.npz", meta, arrays))

    return write


def test_a_network_plays_guarded_and_bare(net):
    path = net()
    rows = {r.policy: r for r in match("doseloop/Vancomycin-v0", [path, path + "+guard"], ["unguarded"], 12)}
    bare, guarded = rows[path], rows[path + "+guard"]
    assert set(guarded.filter) == {"changed", "ruled", "asked", "withheld", "failed"}
    assert not bare.filter
    assert guarded.cost.mean() <= bare.cost.mean()
    assert np.array_equal(guarded.returns[guarded.filter["changed"] == 0], bare.returns[guarded.filter["changed"] == 0])


def test_a_network_brings_its_senses_and_not_its_world(net):
    (who,) = contestants("doseloop/Vancomycin-v0", [net(action="usual", renal="injury", guard=False)])
    assert who.keywords == {"action": "usual"}


def test_a_network_that_does_not_fit_is_refused(net):
    with pytest.raises(DoseloopError, match="it reads 3 numbers"):
        list(match("doseloop/Vancomycin-v0", [net(inputs=3)], ["nominal"], 2))
    with pytest.raises(DoseloopError, match=r"for doseloop/Glucose-v0, not for doseloop/Vancomycin-v0"):
        contestants("doseloop/Vancomycin-v0", [net(id="doseloop/Glucose-v0")])
    with pytest.raises(DoseloopError, match=r"there is no such file"):
        contestants("doseloop/Vancomycin-v0", ["nowhere.npz"])
    with pytest.raises(DoseloopError, match=r"'pppo': there are random"):
        contestants("doseloop/Vancomycin-v0", ["pppo"])
