"""The anaesthesia cohorts: the same people whatever the number, the published spreads, and a user's own table."""

from __future__ import annotations

import numpy as np
import pytest
from doseloop import models
from doseloop.pkpd.engine import Method
from doseloop.pkpd.errors import DoseloopError, RecordError
from doseloop.pkpd.individuals import individuals, individuals_with_derivatives
from doseloop.pkpd.population import Prepared
from doseloop.pkpd.regimen import Infusion, Regimen
from doseloop.pkpd.schedule import Schedule
from doseloop.pkpd.system import system
from doseloop.virtual.anaesthesia_cohort import anaesthesia_cohort
from doseloop.virtual.draws import EFFECTS, PERSON, normals, quantiles, seed_of, uniform_draws
from doseloop.virtual.people_table import read_people
from scipy.stats import kstest, norm

ELEVELD = "propofol_eleveld2018"
ALL = [id for id in models.ids() if id.startswith(("propofol", "remifentanil"))]

FIRST = {
    "covariates": [19.446408, 75.629401, 171.46813, 0.0, 1.0, 0.0],
    "eta": [-0.052582, 0.082536, 0.05847, -0.178594, 0.350891, -0.237971, -0.133967, -0.494176],
}


# draws ---------------------------------------------------------------------------------------------------------------


def test_a_row_depends_on_the_seed_the_patient_and_the_stream_alone():
    who = np.arange(50)
    a = uniform_draws(5, who, PERSON, 10)
    assert np.array_equal(uniform_draws(5, who[7:9], PERSON, 10), a[7:9])
    assert np.array_equal(uniform_draws(5, who, PERSON, 4, first=1), a[:, 4:8])
    for other in (uniform_draws(6, who, PERSON, 10), uniform_draws(5, who, EFFECTS, 10)):
        assert not (other == a).any()
    assert len(np.unique(a)) == a.size


def test_draws_are_uniform_and_normal():
    u = uniform_draws(1, np.arange(20000), PERSON, 4)
    assert kstest(u.ravel(), "uniform").pvalue > 0.01
    z = normals(1, np.arange(20000), PERSON, 4)
    assert np.allclose(z, norm.ppf(u), rtol=1e-12)
    assert np.abs(np.corrcoef(z.T) - np.eye(4)).max() < 0.03
    assert quantiles(np.array(0.5)) == 0.0


# the cohorts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ALL)
def test_a_cohort_of_every_model(id):
    people = anaesthesia_cohort(id, "test", 300)
    m = people.model
    assert len(people) == 300
    assert np.isfinite(people.parameters).all()
    low, high = (np.array([getattr(c, side) for c in m.covariates]) for side in ("low", "high"))
    assert ((people.covariates >= low) & (people.covariates <= high)).all(), "within what the paper covers"
    assert np.array_equal(people.parameters, individuals(m, people.covariates, people.eta))
    assert set(people.known) == {"age", "weight", "height", "sex"}
    assert "version 1" in people.origin
    assert "split test" in people.origin
    names = m.names("covariates")
    for c, values in people.known.items():
        if c in names:
            assert np.array_equal(people.covariates[:, names.index(c)], values)


def test_patient_k_is_the_same_whatever_the_number():
    many = anaesthesia_cohort(ELEVELD, "test", 1000)
    for n in (1, 7, 300):
        few = anaesthesia_cohort(ELEVELD, "test", n)
        assert np.array_equal(few.parameters, many.parameters[:n])
        assert np.array_equal(few.covariates, many.covariates[:n])
        assert few.ids.tolist() == many.ids[:n].tolist()
    later = anaesthesia_cohort(ELEVELD, "test", 50, first=333)
    assert np.array_equal(later.parameters, many.parameters[333:383])
    assert np.array_equal(later.known["age"], many.known["age"][333:383])
    assert later.ids.tolist() == many.ids[333:383].tolist()


def test_the_splits_and_seeds_are_other_people():
    cohorts = [anaesthesia_cohort(ELEVELD, s, 200) for s in ("train", "validation", "test")]
    cohorts.append(anaesthesia_cohort(ELEVELD, "test", 200, seed=1))
    seen = np.concatenate([c.eta.ravel() for c in cohorts])
    assert len(np.unique(seen)) == seen.size
    assert seed_of("anaesthesia", 1, "test") != seed_of("anaesthesia", 2, "test")
    assert cohorts[2].ids[0] == "test-0000"


def test_the_published_cohort_does_not_change():
    """A digit that moves here changes every published result: raise VERSION instead."""
    first = anaesthesia_cohort(ELEVELD, "test", 2)
    assert first.covariates[0].round(6).tolist() == FIRST["covariates"]
    assert first.eta[0].round(6).tolist() == FIRST["eta"]


def test_persons_are_the_same_in_every_model_that_covers_them():
    a, b = anaesthesia_cohort(ELEVELD, "test", 500), anaesthesia_cohort("propofol_remifentanil_su2023", "test", 500)
    inside = (a.known["age"] <= 70) & (a.known["weight"] >= 40) & (a.known["weight"] <= 106)
    inside &= (a.known["height"] >= 150) & (a.known["height"] <= 193)
    assert inside.mean() > 0.7
    for c in a.known:
        assert np.array_equal(a.known[c][inside], b.known[c][inside])
    assert np.allclose(a.eta, b.eta[:, : a.eta.shape[1]], atol=1e-12), "and so are their random effects of one model"


def test_who_they_are():
    k = anaesthesia_cohort(ELEVELD, "train", 4000).known
    bmi = k["weight"] / (k["height"] / 100) ** 2
    assert kstest((k["age"] - 18) / 62, "uniform").pvalue > 0.01
    assert abs(k["sex"].mean() - 0.5) < 0.03
    assert abs(k["height"][k["sex"] == 0].mean() - 175.3) < 0.6
    assert abs(k["height"][k["sex"] == 1].mean() - 161.3) < 0.6
    assert abs(np.median(bmi) - 26.5) < 0.4
    assert bmi.min() >= 17
    assert bmi.max() <= 40
    assert abs(np.corrcoef(k["age"], k["weight"])[0, 1]) < 0.05


@pytest.mark.parametrize("id", [i for i in ALL if models.load(i).effects])
def test_random_effects_have_the_paper_s_covariance(id):
    n = 4000
    people = anaesthesia_cohort(id, "validation", n)
    got, omega = np.cov(people.eta.T), people.model.omega
    sd = np.sqrt(np.diag(omega))
    # a sampled covariance's own standard error is sd_i sd_j sqrt((1 + r²)/n) ≤ sd_i sd_j sqrt(2/n)
    assert (np.abs(got - omega) <= 4.5 * np.outer(sd, sd) * np.sqrt(2 / n)).all()
    assert (np.abs(people.eta.mean(axis=0)) <= 4.5 * sd / np.sqrt(n)).all()


# the published spreads -----------------------------------------------------------------------------------------------

OPERATION = Regimen(
    Infusion(140, 0, duration=1, route="propofol"), Infusion(9 * 90, 1, duration=90, route="propofol")
)  # 2 mg/kg, then 9 mg/min (8 mg/kg/h) for 90 min


def sensitivities(people, times):
    """Outputs and their derivatives by each random effect, (n, times, 1 + effects, outputs)."""
    m, K = people.model, len(people.model.effects)
    schedule = Schedule(m, 0.0)
    schedule.observe(times)
    schedule.regimen(OPERATION, float(times.max()))
    p, dp = individuals_with_derivatives(m, people.covariates, people.eta)
    S, rows = system(m, K), np.hstack([p, dp.reshape(len(p), -1)])
    Y, status = Prepared(S, [schedule], Method()).run(rows, x0=np.zeros((len(p), S.rows_x)))
    assert not status.any()
    return Y.reshape(len(p), len(times), 1 + K, len(m.outputs))


def spread_of_estimates(J, residual, omega):
    """SD over people of their empirical-Bayes estimates: variance of the effects less what the data leave unknown."""
    information = np.einsum("ntk,ntl->nkl", J, J) / residual**2
    left = np.linalg.inv(np.linalg.inv(omega) + information)
    return np.sqrt(np.mean(np.einsum("nkk->nk", omega - left), axis=0))


def test_the_cohort_s_estimates_spread_as_the_paper_s():
    """Published log-SDs of the empirical-Bayes estimates: CL .236, V1 .508 (1,033 people, 15 samples each on average),
    Ce50 .241, ke0 .685 (122 people, BIS throughout). An estimate from few noisy samples shrinks towards the typical
    value, so these are below the population's .265, .610, .242, .702, by as much as the samples leave open. With the
    column read as variances CL and Ce50 would spread by .51 and .49, which no shrinkage of a few per cent undoes.
    """
    people = anaesthesia_cohort(ELEVELD, "test", 200)
    names, omega = people.model.names("effects"), people.model.omega
    assert people.eta.std(axis=0) == pytest.approx(np.sqrt(np.diag(omega)), rel=0.15)

    samples = np.array([2, 4, 8, 16, 30, 45, 60, 91, 93, 95, 99, 107, 122, 150, 210.0])
    Y = sensitivities(people, samples)
    kinetics = dict(zip(names, spread_of_estimates(Y[:, :, 1:, 0] / Y[:, :, :1, 0], 0.191307, omega)))
    assert kinetics["cl"] == pytest.approx(0.236, rel=0.08)
    assert kinetics["v1"] == pytest.approx(0.508, rel=0.08)

    minutes = np.arange(1, 121.0)  # BIS each minute, kinetics known, as the paper fitted one after the other
    J = sensitivities(people, minutes)[:, :, 1:, 2]
    pair = [names.index("ce50"), names.index("ke0")]
    ce50, ke0 = spread_of_estimates(J[:, :, pair], 8.03, omega[np.ix_(pair, pair)])
    assert ce50 == pytest.approx(0.241, rel=0.03)
    assert ke0 == pytest.approx(0.685, rel=0.03)


# mistakes ------------------------------------------------------------------------------------------------------------


def test_mistakes_in_asking():
    with pytest.raises(DoseloopError, match="no split 'tests'; there are train, validation, test"):
        anaesthesia_cohort(ELEVELD, "tests")
    with pytest.raises(DoseloopError, match="n must be 1 or more") as caught:
        anaesthesia_cohort(ELEVELD, n=0, first=-1, given={"opiate": 1})
    assert "'opiate' is no covariate of the setting; there are: opioid, venous" in str(caught.value)


def test_propofol_alone_has_other_kinetics():
    both, alone = (anaesthesia_cohort(ELEVELD, "test", 20, given={"opioid": v}) for v in (1, 0))
    cl = list(both.model.individual_units).index("cl")
    assert alone.parameters[:, cl] / both.parameters[:, cl] == pytest.approx(np.exp(0.00285709 * both.known["age"]))


def test_a_user_s_table(tmp_path):
    path = tmp_path / "mine.csv"
    rows = ["id,AGE,weight,height,sex,eta_cl,ce50", "a,35,70,170,m,0.2,3.5", "b,12,40,150,F,0,2.5"]
    path.write_text("\n".join(rows), encoding="utf-8")
    people = read_people(path)
    assert people.ids.tolist() == ["a", "b"]
    assert people.group.tolist() == ["adult", "child"]
    names, typical = list(people.model.individual_units), individuals(people.model, people.covariates)
    assert people.parameters[0, names.index("cl")] == pytest.approx(typical[0, names.index("cl")] * np.exp(0.2))
    assert people.parameters[:, names.index("ce50")].tolist() == [3.5, 2.5]
    assert people.parameters[1, names.index("v3")] == typical[1, names.index("v3")]
    assert people.known["sex"].tolist() == [0.0, 1.0]


def test_a_user_s_table_outside_the_model_s_range_says_so(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("id,age,weight,height,sex\na,35,70,170,0\nb,12,40,150,1\n", encoding="utf-8")
    assert "1 outside the model's range" in read_people(path, "propofol_adult_schnider1998").origin


def test_a_user_s_table_with_mistakes(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(
        "id,age,weight,height,sexe,eta_cl\na,35,70,1.75,m,0\na,x,70,170,m,0\nc,35,70,170,m\nd,35,-1,170,m,inf\n",
        encoding="utf-8",
    )
    with pytest.raises(RecordError) as caught:
        read_people(path)
    text = str(caught.value)
    for part in (
        "column 'sexe' is not known",
        "no column 'sex'",
        "line 2: height is 1.75; it lies between 20 and 260",
        "line 3: age is 'x', not a number",
        "line 4: 5 cells; the header has 6",
        "line 5: weight is -1",
        "line 5: eta_cl is inf",
        "the id 'a' comes twice",
    ):
        assert part in text, part
    path.write_text("id,age,weight,height,sex,cl\na,35,70,170,m,0\n", encoding="utf-8")
    with pytest.raises(RecordError, match="cl of 'a' is 0; it must be above 0"):
        read_people(path)
    path.write_text("", encoding="utf-8")
    with pytest.raises(RecordError, match="holds no patient"):
        read_people(path)
    with pytest.raises(RecordError, match="cannot be read"):
        read_people(tmp_path / "none.csv")
