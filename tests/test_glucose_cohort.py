"""The glucose cohorts, the ratios computed for them, a user's table, and what a controller may know."""

import csv
import dataclasses
import math
import os

import numpy as np
import pytest
from doseloop import models
from doseloop.pkpd.errors import DoseloopError, RecordError
from doseloop.pkpd.march import march_of
from doseloop.virtual import cohort as shared
from doseloop.virtual.course import course
from doseloop.virtual.glucose_cohort import BASAL, CARB_RATIO, LOWEST, accepted, glucose_cohort
from doseloop.virtual.glucose_prior import GlucosePrior, glucose_prior
from doseloop.virtual.ratios import GROUPS, Ratios, held_inputs, ratios, states_at_rest
from doseloop.virtual.table import COLUMN, ENVIRONMENT, START, read_table, simglucose_folder, simglucose_people

S2008, HOVORKA = "glucose_t1d_uvapadova2008", "glucose_t1d_hovorka2004"
SIMGLUCOSE = os.environ.get(ENVIRONMENT)


@pytest.fixture(scope="module", params=[S2008, HOVORKA])
def people(request):
    return glucose_cohort(request.param, "test", 90)


# the cohort ----------------------------------------------------------------------------------------------------------


def test_a_patient_is_the_same_whoever_else_is_drawn(people):
    fewer, adults = glucose_cohort(people.model, "test", 7), glucose_cohort(people.model, "test", 20, "adult")
    assert np.array_equal(fewer.parameters, people.parameters[:7])
    assert fewer.ids.tolist() == people.ids[:7].tolist()
    mine = people.group == "adult"
    assert np.array_equal(adults.parameters, people.parameters[mine][:20])
    assert adults.ids.tolist() == people.ids[mine][:20].tolist()
    for name, values in adults.known.items():
        assert np.array_equal(values, people.known[name][mine][:20]), name


def test_patients_from_a_number_on_are_those_of_a_bigger_cohort(people):
    later = glucose_cohort(people.model, "test", 20, first=41, threads=1)
    for name in ("parameters", "covariates", "eta", "ids", "group"):
        assert np.array_equal(getattr(later, name), getattr(people, name)[41:61]), name
    for name, values in later.known.items():
        assert np.array_equal(values, people.known[name][41:61]), name
    children = glucose_cohort(people.model, "test", 5, "child", first=11)
    assert children.ids.tolist() == people.ids[people.group == "child"][11:16].tolist()
    assert np.array_equal(children.parameters, people.parameters[people.group == "child"][11:16])


def test_the_splits_and_seeds_share_nobody(people):
    drawn = {split: glucose_cohort(people.model, split, 30).eta for split in ("train", "validation", "test")}
    drawn["another seed"] = glucose_cohort(people.model, "test", 30, seed=1).eta
    rows = np.concatenate(list(drawn.values())).round(12)
    assert len({tuple(r) for r in rows.tolist()}) == 120


def test_the_published_cohort_does_not_change_unnoticed():
    """A change here needs a new version in `virtual.glucose_cohort`: published results name it."""
    known = {id: glucose_cohort(id, "test", 60).known for id in (S2008, HOVORKA)}
    got = {id: [f"{known[id][k].mean():.5g}" for k in ("weight", "basal", "carb_ratio", "correction")] for id in known}
    assert got == PUBLISHED


def test_everybody_keeps_every_rule(people):
    found, known = ratios(people.model, people.parameters), people.known
    assert found.carb_ratio == pytest.approx(known["carb_ratio"], rel=1e-12)
    assert found.correction == pytest.approx(known["correction"], rel=1e-12)
    assert accepted(known["weight"], known["group"], known["basal"], found).all()
    assert (people.group == np.array(GROUPS)[known["group"].astype(int)]).all()
    assert people.known["basal"] == pytest.approx(
        people.parameters[:, list(people.model.individual_units).index("basal")]
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("basal", BASAL[0] * 0.99),
        ("basal", BASAL[1] * 1.01),
        ("carb_ratio", CARB_RATIO["adult"][0] * 0.99),
        ("carb_ratio", CARB_RATIO["adult"][1] * 1.01),
        ("carb_ratio", math.inf),
        ("correction", 1.0),
        ("correction", 1e3),
        ("lowest", LOWEST - 0.01),
        ("peak", 10.0),
        ("peak", 170.0),
        ("rise", 50.0),
        ("weight", 18.0),  # 24 U a day are then too many for a kg
    ],
)
def test_each_rule_turns_somebody_away(field, value):
    good = {"carb_ratio": 10.0, "correction": 20.0, "lowest": 90.0, "peak": 60.0, "rise": 150.0}
    person = {"weight": 75.0, "group": 0.0, "basal": 1.0}

    def one(changes):
        values = {k: np.array([changes.get(k, v)]) for k, v in {**good, **person}.items()}
        return accepted(*(values[k] for k in person), Ratios(*(values[k] for k in good)))[0]

    assert one({})
    assert not one({field: value})


def test_the_cohort_is_about_what_clinics_see():
    """Daily insulin by age, and the 500 rule (500 / daily dose = g/U); wide bounds: these are models' people."""
    for id in (S2008, HOVORKA):
        k = glucose_cohort(id, "train", 240).known
        eats = np.array([3.0, 4.5, 6.0])[k["group"].astype(int)]
        daily = 24 * k["basal"] + eats * k["weight"] / k["carb_ratio"]
        for code, (low, high) in enumerate([(0.4, 0.75), (0.7, 1.1), (0.5, 0.85)]):
            mine = k["group"] == code
            assert low < np.median(daily[mine] / k["weight"][mine]) < high
            assert 0.35 < np.median(24 * k["basal"][mine] / daily[mine]) < 0.6
        assert 0.8 < np.median(500 / daily / k["carb_ratio"]) < 1.6


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"split": "dev"}, "no split 'dev'"),
        ({"group": "toddler"}, "no group 'toddler'"),
        ({"n": 0}, "n must be 1 or more"),
        ({"first": -1}, "first must be 0 or more"),
        ({"model": "vancomycin_adult_goti2018"}, "has no carbs among its inputs"),
    ],
)
def test_what_cannot_be_drawn_is_said(given, complaint):
    with pytest.raises(DoseloopError, match=complaint):
        glucose_cohort(**given)


def test_somebody_who_is_never_accepted_ends_in_an_error():
    nobody = lambda who, attempt: ({"x": np.zeros(len(who))}, who > 0)  # noqa: E731
    with pytest.raises(DoseloopError, match="1 of 3 patients were not accepted in 5 attempts"):
        shared.sampled("a cohort", np.arange(3), nobody, attempts=5)
    late = lambda who, attempt: ({"x": who + 10.0 * attempt}, who <= attempt)  # noqa: E731
    found = shared.sampled("a cohort", np.arange(3), late)
    assert found["x"].tolist() == [0, 11, 22]
    assert found["attempts"].tolist() == [1, 2, 3]


# ratios --------------------------------------------------------------------------------------------------------------


def glucose_after(people, bolus, grams, hours):
    m, n = people.model, len(people)
    names, U = m.names("inputs"), held_inputs(m, hours * 12, people.known["basal"] / 60)
    U[:, :3, names.index("carbs")] = grams[:, None] / 15
    if "meal" in names:
        U[:, :, names.index("meal")] = grams[:, None] * np.minimum(np.arange(1, hours * 12 + 1) / 3, 1)
    x = states_at_rest(m, people.parameters)
    x[:, m.names("states").index(m.route("sc").into)] += bolus
    assert len(x) == n
    return course(march_of(m, 5.0), people.parameters, x, U)[0][:, :, 0]


def test_a_meal_with_the_bolus_of_its_ratio_is_back_after_four_hours(people):
    grams = 0.7 * people.known["weight"]
    first = people.parameters[:, list(people.model.individual_units).index("gb")]
    back = glucose_after(people, grams / people.known["carb_ratio"], grams, 4)[:, -1]
    assert np.abs(back - first).max() < 2e-3
    assert (glucose_after(people, 0.9 * grams / people.known["carb_ratio"], grams, 4)[:, -1] > first).all()


def test_the_correction_factor_is_the_largest_fall_of_a_small_bolus_for_each_unit(people):
    nudge, nothing = 0.02 * people.known["weight"], np.zeros(len(people))
    fall = glucose_after(people, 0.0, nothing, 8) - glucose_after(people, nudge, nothing, 8)
    assert fall.max(axis=1) / nudge == pytest.approx(people.known["correction"], rel=1e-9)


def test_who_needs_no_bolus_has_an_infinite_ratio():
    m = models.load(S2008)
    people = glucose_cohort(m, "test", 2)
    p = people.parameters.copy()
    p[:, list(m.individual_units).index("f")] = 1e-6  # nothing is absorbed
    assert np.isinf(ratios(m, p).carb_ratio).all() or (ratios(m, p).carb_ratio > 1e4).all()


def test_threads_and_company_do_not_change_a_course(people, monkeypatch):
    p, U = people.parameters, held_inputs(people.model, 96, people.known["basal"] / 50)
    x, how = states_at_rest(people.model, people.parameters), march_of(people.model, 5.0)
    y, ends = course(how, p, x, U)
    for count in (1, 2):
        monkeypatch.setattr("doseloop.virtual.course.os.cpu_count", lambda count=count: count)
        again, last = course(how, p, x, U)
        assert np.array_equal(again, y)
        assert np.array_equal(last, ends)
    few = [3, 17, 60]
    assert np.array_equal(course(how, p[few], x[few], U[few])[0], y[few])


# a user's table ------------------------------------------------------------------------------------------------------


def rows_of(people):
    """The cohort's own patients in the columns of the open simulator's table."""
    names, rows = list(people.model.individual_units), []
    for i, values in enumerate(people.parameters):
        p = dict(zip(names, values))
        row = {"Name": f"{people.group[i]}#{i + 1:03d}"} | {
            COLUMN.get(n, n): repr(float(p[n])) for n in names if n != "basal"
        }
        row["u2ss"] = repr(float(p["basal"] / 60 * 6000 / p["weight"]))
        known = {c: repr(float(people.known[k][i])) for c, k in (("CR", "carb_ratio"), ("CF", "correction"))}
        rows.append(row | known)
    return rows


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, list(dict.fromkeys(k for r in rows for k in r)))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def few():
    return glucose_cohort(S2008, "test", 6)


def test_a_table_of_patients_comes_back_as_it_was(few, tmp_path):
    got = read_table(write(tmp_path / "mine.csv", rows_of(few)))
    assert got.parameters == pytest.approx(few.parameters, rel=1e-14)
    assert got.group.tolist() == few.group.tolist()
    for name, values in few.known.items():
        assert got.known[name] == pytest.approx(values, rel=1e-14), name
    assert got.start is None
    assert got.covariates == pytest.approx(few.covariates)


def test_where_a_table_has_no_ratios_they_are_simulated(few, tmp_path):
    rows = [{k: v for k, v in r.items() if k not in ("CR", "CF")} for r in rows_of(few)]
    got = read_table(write(tmp_path / "mine.csv", rows))
    assert got.known["carb_ratio"] == pytest.approx(few.known["carb_ratio"], rel=1e-6)
    assert got.known["correction"] == pytest.approx(few.known["correction"], rel=1e-6)


def test_a_starting_state_and_a_group_column_are_read(few, tmp_path):
    rows, x = rows_of(few), states_at_rest(few.model, few.parameters)
    for row, state, weight, group in zip(rows, x, few.known["weight"], few.group):
        state = [s * (6000 / weight if k in (10, 11) else 1) for k, s in enumerate(state)]
        row |= dict(zip(START, map(repr, map(float, state)))) | {"Name": row["Name"].split("#")[1], "group": group}
    got = read_table(write(tmp_path / "mine.csv", rows))
    assert got.start == pytest.approx(x, rel=1e-12)
    assert got.group.tolist() == few.group.tolist()


def test_every_fault_of_a_table_is_listed_at_once(few, tmp_path):
    rows = rows_of(few)
    rows[0]["kabs"] = "fast"
    rows[1]["BW"] = "-3"
    rows[2]["Name"] = "toddler#003"
    rows[3]["Name"] = rows[4]["Name"]
    rows[4]["kp1"] = repr(2 * float(rows[4]["kp1"]))
    rows[5]["b"] = "1.5"
    rows[5]["Vg"] = "nan"
    with pytest.raises(RecordError) as e:
        read_table(write(tmp_path / "mine.csv", rows))
    text = str(e.value)
    for part in (
        "mine.csv row 2: kabs is 'fast', not a number",
        "mine.csv row 3: BW is -3; a number above 0 is meant",
        "mine.csv row 4: the group 'toddler' is not known; known: adult, adolescent, child",
        "row 6: the name 'adolescent#005' comes twice",
        "mine.csv row 6: adolescent#005 has no steady state on u2ss at Gb",
        "mine.csv row 7: b is 1.5; it is a share below 1",
        "mine.csv row 7: Vg is nan",
    ):
        assert part in text, (part, text)


def test_missing_columns_are_listed_at_once(few, tmp_path):
    rows = [{k: v for k, v in r.items() if k not in ("kd", "u2ss", "Fsnc")} for r in rows_of(few)]
    with pytest.raises(RecordError) as e:
        read_table(write(tmp_path / "mine.csv", rows))
    assert [f"no column '{c}'" in str(e.value) for c in ("kd", "u2ss", "Fsnc", "BW")] == [True, True, True, False]


def test_a_table_that_is_not_there_or_is_empty_is_said(tmp_path):
    with pytest.raises(RecordError, match="cannot be read"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("Name,BW\n", encoding="utf-8")
    with pytest.raises(RecordError, match="has no rows"):
        read_table(tmp_path / "empty.csv")


def test_ratios_of_a_second_table_must_cover_everybody(few, tmp_path):
    rows = rows_of(few)
    second = write(tmp_path / "quest.csv", [{k: r[k] for k in ("Name", "CR", "CF")} for r in rows[:-1]])
    with pytest.raises(RecordError, match=r"quest\.csv has no CR and CF of child#006"):
        read_table(write(tmp_path / "mine.csv", rows), second)


def test_an_absent_simglucose_is_one_clear_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecordError, match="simglucose is not installed: `pip install simglucose`"):
        simglucose_folder()
    with pytest.raises(RecordError, match=r"holds no vpatient_params\.csv"):
        simglucose_folder(tmp_path)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    with pytest.raises(RecordError, match=r"holds no vpatient_params\.csv"):
        simglucose_people()


def test_simglucose_s_folder_is_found_from_the_package_its_folder_or_its_file(few, tmp_path, monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    folder = tmp_path / "simglucose" / "params"
    folder.mkdir(parents=True)
    rows = rows_of(few)
    file = write(folder / "vpatient_params.csv", [{k: v for k, v in r.items() if k not in ("CR", "CF")} for r in rows])
    write(folder / "Quest.csv", [{k: r[k] for k in ("Name", "CR", "CF")} for r in rows])
    for path in (folder.parent, folder, file):
        assert simglucose_folder(path) == folder
    monkeypatch.setenv(ENVIRONMENT, str(folder.parent))
    assert simglucose_people().known["carb_ratio"] == pytest.approx(few.known["carb_ratio"])


@pytest.mark.skipif(not SIMGLUCOSE, reason=f"${ENVIRONMENT} names no installed simglucose")
def test_the_installed_simglucose_s_thirty_patients():
    people = simglucose_people()
    assert len(people) == 30
    assert {g: int((people.group == g).sum()) for g in GROUPS} == dict.fromkeys(GROUPS, 10)
    assert people.start == pytest.approx(states_at_rest(people.model, people.parameters), rel=1e-6, abs=1e-4)


# what a controller may know ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[S2008, HOVORKA])
def prior(request):
    return glucose_prior(request.param, cohort=900, errors=(0.0, 0.0, 0.0, 0.0))


@pytest.mark.parametrize("at", [None, 110.0])
def test_the_known_basal_rate_comes_back_exactly(prior, at):
    people, names = glucose_cohort(prior.model, "validation", 60), list(prior.model.individual_units)
    p = prior.parameters(people.known, at)
    assert p[:, names.index("basal")] == pytest.approx(people.known["basal"], rel=1e-12)
    assert p[:, names.index("weight")] == pytest.approx(people.known["weight"], rel=1e-12)
    if at:
        assert p[:, names.index("gb")] == pytest.approx(np.full(60, at), rel=1e-12)


def test_a_strange_basal_rate_comes_back_too(prior):
    known = {"basal": [0.05, 6.0], "carb_ratio": [60.0, 1.0], "correction": [300.0, 2.0], "weight": 75.0, "group": 0}
    mean, _ = prior(known)
    p = prior.parameters(known)
    assert p[:, list(prior.model.individual_units).index("basal")] == pytest.approx([0.05, 6.0], rel=1e-9)
    assert np.abs(mean / np.sqrt(np.diag(prior.model.omega))).max() < 8, "clipped before it is extrapolated"


def test_the_conditional_law_holds_on_the_held_out(prior):
    """White residuals: variance 1 in every direction, 90 % within 1.645, and less than the population's spread."""
    people = glucose_cohort(prior.model, "validation", 300)
    mean, covariance = prior(people.known)
    off = people.eta - mean
    assert np.linalg.eigvalsh(covariance).min() > 0
    values, vectors = np.linalg.eigh(covariance)
    wide = values > 0.03 * values.max()  # along the basal rate it is solved for, not spread
    white = (off @ vectors)[:, wide] / np.sqrt(values[wide])
    assert (white**2).mean() == pytest.approx(1.0, abs=0.12)
    assert (np.abs(white) < 1.645).mean() == pytest.approx(0.9, abs=0.02)
    assert np.abs(white.mean(axis=0)).max() < 4 / math.sqrt(300)
    told = 1 - off.var(axis=0) / people.eta.var(axis=0)
    assert told.max() > 0.5
    assert told.min() > -0.1, "knowing must not mislead"


def test_what_is_known_narrows_and_errors_widen(prior):
    people = glucose_cohort(prior.model, "validation", 6)
    sure = np.linalg.slogdet(prior(people.known)[1])[1]
    rough = GlucosePrior(prior.model, prior.features, prior.effects, prior.joint, dict.fromkeys(prior.errors, 0.3))
    unsure = np.linalg.slogdet(rough(people.known)[1])[1]
    nothing = np.linalg.slogdet(prior.joint[: len(prior.model.effects), : len(prior.model.effects)])[1]
    assert sure < unsure < nothing


def test_groups_by_name_and_by_code_and_one_patient_or_many(prior):
    known = {"basal": 0.9, "carb_ratio": 10.0, "correction": 20.0, "weight": 70.0}
    one = prior({**known, "group": 1})[0]
    assert one.shape == (1, len(prior.model.effects))
    assert np.array_equal(prior({**known, "group": "adolescent"})[0], one)
    many = prior({**known, "group": np.array(["adult", "adolescent"])})[0]
    assert np.array_equal(many[1:], one)


def test_what_is_missing_or_senseless_is_listed_at_once(prior):
    with pytest.raises(DoseloopError) as e:
        prior({"basal": [1.0, -1.0], "weight": 70.0, "correction": 20.0, "group": "toddler"})
    for part in ("'carb_ratio' is missing", "'basal' must be above 0", "there is no group 'toddler'"):
        assert part in str(e.value)


def test_the_regression_is_kept_and_a_damaged_file_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "cache_folder", lambda: tmp_path)
    made = []

    def make():
        made.append(1)
        return {"a": np.arange(3.0)}

    for _ in range(2):
        assert np.array_equal(shared.kept("x", "stamp", make)["a"], np.arange(3.0))
    assert len(made) == 1
    shared.kept("x", "another stamp", make)
    assert len(made) == 2
    for path in (tmp_path / "cohorts").iterdir():
        path.write_bytes(b"not an archive")
    assert np.array_equal(shared.kept("x", "stamp", make)["a"], np.arange(3.0))
    assert len(made) == 3


def test_people_can_be_taken_apart_and_put_together(people):
    part = people[people.group == "child"]
    assert dataclasses.replace(part).ids.tolist() == part.ids.tolist()
    assert (part.known["group"] == 2).all()


PUBLISHED = {
    S2008: ["53.782", "0.8083", "12.277", "39.046"],
    HOVORKA: ["52.543", "0.66081", "13.708", "42.675"],
}
