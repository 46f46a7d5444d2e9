"""What the suite of models does not ask of glucose models: steady states, the meal, the inputs, and the known traps."""

import math

import numpy as np
import pytest
from doseloop import models
from doseloop.pkpd import reference
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.march import march_of
from doseloop.virtual.course import course
from doseloop.virtual.ratios import held_inputs, states_at_rest

S2008, S2013, HOVORKA = "glucose_t1d_uvapadova2008", "glucose_t1d_uvapadova2013", "glucose_t1d_hovorka2004"
IDS = (S2008, S2013, HOVORKA)


@pytest.fixture(params=IDS)
def model(request):
    return models.load(request.param)


def people(model, n=64):
    rng = np.random.Generator(np.random.Philox(key=[11, n]))
    group = np.arange(n) % 3
    columns = {"weight": np.array([75.0, 55.0, 30.0])[group], "group": group}
    eta = rng.multivariate_normal(np.zeros(len(model.omega)), model.omega, n)
    return individuals(model, np.stack([columns[c] for c in model.names("covariates")], axis=1), eta)


def parameter(model, p, name):
    return p[:, list(model.individual_units).index(name)]


def day(model, p, minutes=1440, rate=None, bolus=0.0, interval=5.0, **signals):
    """Plasma glucose, (n, intervals); signals held throughout."""
    rate = parameter(model, p, "basal") / 60 if rate is None else rate
    U = held_inputs(model, round(minutes / interval), rate)
    for name, value in signals.items():
        if name in model.names("inputs"):
            U[:, :, model.names("inputs").index(name)] = value
    x = states_at_rest(model, p)
    x[:, model.names("states").index(model.route("sc").into)] += bolus
    return course(march_of(model, interval), p, x, U)[0][:, :, 0]


# steady states -------------------------------------------------------------------------------------------------------


def test_the_starting_state_is_a_steady_state_on_the_basal_rate_at_fasting_glucose(model):
    p = people(model)
    G = day(model, p)
    assert np.abs(G - parameter(model, p, "gb")[:, None]).max() < 1e-6
    for row in p[:4]:
        x, basal = reference.initial(model, row), row[list(model.individual_units).index("basal")]
        flow = reference.rhs(model, 0.0, x, row, None, {"sc": basal / 60})
        assert np.abs(flow).max() <= 1e-13 * np.abs(x).max()


def test_sensor_and_plasma_agree_at_rest(model):
    p = reference.individual(model)
    glucose, sensor = reference.outputs(model, 0.0, reference.initial(model, p), p)
    assert glucose == pytest.approx(sensor, rel=1e-14)


def test_half_the_basal_rate_is_too_little_and_twice_is_too_much(model):
    p = people(model, 24)
    basal = parameter(model, p, "basal") / 60
    assert (day(model, p, 480, 0.5 * basal)[:, -1] > parameter(model, p, "gb")).all()
    assert (day(model, p, 480, 2 * basal)[:, -1] < parameter(model, p, "gb")).all()


def test_2008_s_dependent_parameters_follow_from_the_basal_state():
    p = people(models.load(S2008))
    get = lambda n: parameter(models.load(S2008), p, n)  # noqa: E731
    assert get("m30") == pytest.approx(1.5 * get("m1"), rel=1e-13)
    assert get("m4") == pytest.approx(0.4 * get("m2"), rel=1e-13)
    clearance = get("m2") + get("m4") - get("m1") * get("m2") / (get("m1") + get("m30"))
    assert 60 * get("ib") * get("vi") * clearance * get("weight") / 6000 == pytest.approx(get("basal"), rel=1e-13)


def test_hovorka_s_basal_insulin_solves_its_own_quadratic():
    """Against a bisection of the printed steady state: EGP0 (1 - SIE I) = F01 + G VG x1 x2 / (k12 + x2)."""
    m = models.load(HOVORKA)
    for row in people(m, 8):
        v = dict(zip(m.individual_units, row))
        stored, low, high = v["vg"] * v["gb"] * 10 / 180.156, 0.0, 1 / v["sie"]
        for _ in range(200):
            i = (low + high) / 2
            x1, x2, x3 = v["sit"] * i, v["sid"] * i, v["sie"] * i
            excess = v["egp0"] * (1 - x3) - v["f01"] - stored * x1 * x2 / (v["k12"] + x2)
            low, high = (i, high) if excess > 0 else (low, i)
        if 81 < v["gb"] < 162:  # below, the brain's uptake falls; above, the kidney excretes
            assert v["basal"] == pytest.approx(60 / 1000 * v["ke"] * v["vi"] * low * v["weight"], rel=1e-9)


# the meal ------------------------------------------------------------------------------------------------------------


def flow_of(model, state, p, **signals):
    """The right-hand side as a mapping, states and inputs by name."""
    x = dict.fromkeys(model.names("states"), 0.0) | dict(
        zip(model.names("states"), reference.initial(model, p).tolist())
    )
    u = {i.name: i.typical for i in model.inputs} | {k: v for k, v in signals.items() if k in model.names("inputs")}
    return dict(zip(model.names("states"), reference.rhs(model, 0.0, {**x, **state}, p, u)))


@pytest.mark.parametrize("q", [0.0, 3.0, 9.0, 20.0, 41.0, 55.0, 60.0])
def test_emptying_is_the_paper_s_with_tanh_and_mg_on_both_sides(q):
    """Dalla Man 2006, as printed: kmin + (kmax - kmin)/2 (tanh(a (q - b D)) - tanh(c (q - d D)) + 2)."""
    m = models.load(S2008)
    p = reference.individual(m)
    D, q = 60e3, q * 1e3
    a, c = 5 / (2 * D * (1 - p["b"])), 5 / (2 * D * p["d"])
    k = p["kmin"] + (p["kmax"] - p["kmin"]) / 2 * (
        math.tanh(a * (q - p["b"] * D)) - math.tanh(c * (q - p["d"] * D)) + 2
    )
    flow = flow_of(m, {"qsto2": q}, p, meal=60.0)
    assert flow["qsto2"] == pytest.approx(-k * q, rel=1e-12, abs=1e-12)
    assert flow["qgut"] == pytest.approx(k * q, rel=1e-12, abs=1e-12)


def test_where_there_was_no_meal_the_stomach_empties_at_kmax():
    m = models.load(S2008)
    p = reference.individual(m)
    assert flow_of(m, {"qsto2": 1000.0}, p)["qsto2"] == pytest.approx(-1000 * p["kmax"], rel=1e-14)


def test_what_is_eaten_appears_in_the_blood_less_what_is_not_absorbed(model):
    """Carbohydrate is only lost by f (S2008) or AG (Hovorka): the integral of appearance."""
    p = people(model, 8)
    per_min = 0.5
    U = held_inputs(model, 400, parameter(model, p, "basal") / 60)
    names, inputs = model.names("states"), model.names("inputs")
    U[:, :20, inputs.index("carbs")] = per_min
    if "meal" in inputs:
        U[:, :, inputs.index("meal")] = 50.0
    _, x = course(march_of(model, 5.0), p, states_at_rest(model, p), U)
    held = [names.index(s) for s in (("qsto1", "qsto2", "qgut") if "meal" in inputs else ("d1", "d2"))]
    assert (x[:, held].sum(axis=1) < 1e-3 * per_min * 100 * 1000).all(), "33 hours later nothing is left in the gut"


def test_the_kidney_excretes_in_proportion_to_the_body_s_glucose_in_hovorka():
    """The renal term is 0.003 (G - 9) VG BW; one port drops VG BW."""
    m = models.load(HOVORKA)
    p = reference.individual(m, {"weight": 80.0, "group": 0.0})
    volume = p["vg"] * p["weight"]
    inside, outside = (flow_of(m, {"q1": G * volume, "c": G}, p)["q1"] for G in (9.0, 10.0))
    x1 = p["sit"] * p["basal"] * 1000 / 60 / (p["ke"] * p["vi"] * p["weight"])
    assert inside - outside == pytest.approx(0.003 * volume + x1 * volume, rel=1e-12)


# inputs --------------------------------------------------------------------------------------------------------------


def test_more_sensitivity_lowers_glucose_and_dawn_raises_it(model):
    p = people(model, 24)
    rest = parameter(model, p, "gb")
    assert (day(model, p, 480, sensitivity=1.5)[:, -1] < rest - 5).all()
    assert (day(model, p, 480, sensitivity=0.7)[:, -1] > rest + 5).all()
    assert (day(model, p, 240, dawn=1.5)[:, -1] > rest + 10).all()


def test_dawn_is_in_mg_per_kg_and_minute_in_both_families():
    for id in (S2008, HOVORKA):
        m = models.load(id)
        p = reference.individual(m)
        into = "gp" if id == S2008 else "q1"
        with_, without = (flow_of(m, {}, p, dawn=d)[into] for d in (1.5, 0.0))
        x3 = reference.initial(m, p)[m.names("states").index("x3")] if id == HOVORKA else 0.0
        size = 1.5 if id == S2008 else 1.5 / 180.156 * p["weight"] * (1 - x3)
        assert with_ - without == pytest.approx(size, rel=1e-9)


# traps ---------------------------------------------------------------------------------------------------------------


def test_production_follows_xl_and_utilisation_x_not_plasma_insulin():
    m = models.load(S2008)
    p = reference.individual(m)
    rest = flow_of(m, {}, p)
    for state, changed in {"ip": set(), "i1": set(), "xl": {"gp"}, "x": {"gt"}}.items():
        more = flow_of(m, {state: 30.0 if state == "x" else 100.0}, p)
        assert {s for s in ("gp", "gt") if more[s] != rest[s]} == changed, state


def test_glucose_never_turns_negative_under_an_absurd_overdose(model):
    """0.3 U/kg at once without food. Beyond 0.5 U/kg the fixed step of S2013, beyond 4 of the others, is too long."""
    p = people(model, 32)
    G = day(model, p, bolus=0.3 * parameter(model, p, "weight"))
    assert np.isfinite(G).all()
    assert G.min() > -1e-9
    assert G.min() < 40


def test_risk_is_0_at_fasting_glucose_and_flat_below_60():
    """Dalla Man 2014: 10 (ln(G)^r1 - ln(Gb)^r1)²; utilisation is (1 + r3 risk) times as steep in X."""
    m = models.load(S2013)
    p = reference.individual(m)

    def used(G):
        x = {"gp": G * p["vg"], "gt": 100.0, "x": 50.0}
        return p["k1"] * x["gp"] - p["k2"] * x["gt"] - flow_of(m, x, p)["gt"]

    share = 100.0 / (p["km0"] + 100.0)
    for G in (50.0, 60.0, 75.0, 119.9, 120.0, 200.0):
        g = min(max(G, 60.0), 120.0)
        risk = 10 * (math.log(g) ** 1.084 - math.log(120.0) ** 1.084) ** 2
        assert used(G) == pytest.approx((p["vm0"] + p["vmx"] * 50 * (1 + 1.509 * risk)) * share, rel=1e-9)


def test_glucagon_comes_when_glucose_falls_and_by_its_own_route_raises_glucose():
    m = models.load(S2013)
    p = people(m, 8)
    U = held_inputs(m, 24, parameter(m, p, "basal") / 60)
    x = states_at_rest(m, p)
    h = m.names("states").index("h")
    assert course(march_of(m, 5.0), p, x, U)[1][:, h] == pytest.approx(60.0)
    low = x.copy()
    low[:, m.names("states").index("gp")] *= 0.5
    assert (course(march_of(m, 5.0), p, low, U[:, :4])[1][:, h] > 61).all()
    rescued = x.copy()
    rescued[:, m.names("states").index("hsc1")] += 1000.0
    assert (course(march_of(m, 5.0), p, rescued, U[:, :12])[0][:, -1, 0] > parameter(m, p, "gb") + 20).all()


def test_without_hypoglycaemia_2013_is_2008():
    """Above fasting glucose risk and glucagon's action are 0; glucagon's secretion is only less."""
    a, b = models.load(S2008), models.load(S2013)
    eta = np.zeros((1, len(b.effects)))
    p, q = individuals(a), individuals(b, eta=eta)
    less = 0.5 * parameter(a, p, "basal") / 60
    assert np.abs(day(a, p, 480, less) - day(b, q, 480, less)).max() < 1e-2
