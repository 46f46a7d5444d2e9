"""The commands, as a user types them: answers, exit codes, error texts, files."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import doseloop as dl
import pytest
from doseloop.cli import main
from doseloop.pkpd.dosetext import read_covariates, read_doses

ROOT = Path(__file__).resolve().parents[1]
INFANTS = ROOT / "therapies/data/phenobarbital_neonates.csv"
ADULT = ROOT / "examples/vancomycin.csv"
CONFIRMS = "clinician confirms every dose"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every command runs in an empty folder, 110 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")


@pytest.fixture
def run(capsys):
    """Runs a command: exit code, standard output, standard error."""

    def run(*command):
        code = main([str(c) for c in command])
        return code, *capsys.readouterr()

    return run


def one_line(text):
    return " ".join(text.split())


def test_help_teaches_with_examples(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "doseloop recommend chart.csv" in out
    for command in ("models", "simulate", "recommend", "replay", "validate", "demo", "warm", "therapies"):
        assert command in out
        assert run(command, "--help")[0] == 0


@pytest.mark.parametrize("command", [[], ["frobnicate"], ["recommend"], ["simulate", "m"], ["models", "--frob"]])
def test_usage_errors_are_bad_input(run, command):
    code, out, err = run(*command)
    assert code == 2
    assert out == ""
    assert "usage:" in err


def test_models_show_every_parameter_with_unit_and_source(run):
    code, out, _ = run("models")
    assert code == 0
    text = one_line(out)
    for model in dl.models.all_models():
        assert model.id in text
        assert one_line(model.citation) in text
        for p in model.parameters:
            assert f"{p.name} {p.value:g}"[:12] in text or p.name in text
            assert one_line(p.source) in text


def test_models_json(run):
    code, out, _ = run("models", "vancomycin_adult_goti2018", "--json")
    (model,) = json.loads(out)
    assert code == 0
    assert model["parameters"][0] == {
        "name": "cl", "value": 4.5, "unit": "L/h", "source": dl.models.load(model["id"]).parameters[0].source,
    }  # fmt: skip


def test_therapies_show_limits_with_sources(run):
    code, out, _ = run("therapies", "phenobarbital")
    text = one_line(out)
    assert code == 0
    assert CONFIRMS in text
    assert "trough 15 to 40 mg/L" in text
    assert "iv dose: maximum per kg 20 mg/kg single loading dose" in text
    assert "iv dose: increase factor unlimited a top-up load" in text
    listed = json.loads(run("therapies", "--json")[1])
    assert [t["id"] for t in listed] == list(dl.therapies.ids())
    assert all(row["source"] for t in listed for row in t["limits"])


def test_simulate_agrees_with_python_and_writes(run, tmp_path):
    code, out, _ = run("simulate", "vancomycin_adult_goti2018", "--dose", "1 g iv over 1 h every 12 h x 3",
                       "--covariates", "weight=70 kg,SCR=1.1", "--until", "2 day", "--out", "here")  # fmt: skip
    assert code == 0
    model = dl.models.load("vancomycin_adult_goti2018")
    cov = dict(model.typical_covariates) | {"weight": 70.0, "scr": 1.1}
    doses = dl.Infusion(1000, duration=1, every=12, times=3)
    level = dl.simulate(model, dl.individuals(model, cov), doses, [24.0, 48.0])["concentration"][0]
    rows = dict(line.split()[:2] for line in out.splitlines() if len(line.split()) == 2 and line[:4] == "    ")
    assert float(rows["24"]) == pytest.approx(level[0], rel=1e-3)
    assert float(rows["48"]) == pytest.approx(level[1], rel=1e-3)
    assert {p.suffix for p in (tmp_path / "here").iterdir()} == {".png", ".csv"}
    assert "time [h],concentration [mg/L]" in (tmp_path / "here/vancomycin_adult_goti2018.csv").read_text()


def test_simulate_people_by_seed(run):
    command = ("simulate", "theophylline_adult_boeckmann1994", "--dose", "300 mg every 12 h x 2", "--people", 30)
    a, b, c = (run(*command, "--seed", s)[1] for s in (1, 1, 2))
    assert "30 people, median (5 % to 95 %)" in a
    assert a == b
    assert a != c


def test_simulate_lists_every_problem(run, tmp_path):
    (tmp_path / "file").touch()
    code, out, err = run("simulate", "phenytoin_adult_grasela1983", "--dose", "100 mg", "--dose", "5 parrots iv",
                         "--until", "soon", "--covariates", "height=3", "--people", 0, "--out", "file")  # fmt: skip
    assert (code, out) == (2, "")
    for words in ("say the route: oral or iv", "'parrots' is not a unit", "'soon' is not a time",
                  "'height' is no covariate", "--people 0", "cannot write to", "AMOUNT [ROUTE]"):  # fmt: skip
        assert words in err


@pytest.mark.parametrize(
    ("text", "dose"),
    [
        ("100 mg oral every 12 h x 10", dl.Oral(100, every=12, times=10)),
        ("0.1 g po q12h ×10", dl.Oral(100, every=12, times=10)),
        ("100mg orally, every 720 min, 10 times", dl.Oral(100, every=12, times=10)),
        ("300 mg oral daily for 3 doses", dl.Oral(300, every=24, times=3)),
        ("1 g iv over 90 min at 1 day", dl.Infusion(1000, 24, duration=1.5)),
        ("500 mg i.v. infusion rate 50 mg/h from 6 h", dl.Infusion(500, 6, rate=50)),
        ("20 mg/kg iv bolus", dl.Bolus(1400)),
        ("250 mg iv over 1 h every 8 h steady state", dl.Infusion(250, duration=1, every=8, steady_state=True)),
        ("100 mg iv every 24 h", dl.Bolus(100, every=24, times=4)),  # until 96 h
        ("100 MG IV", "did you mean mg"),
        ("100 iv", "the unit is missing"),
        ("mg iv", "there is no amount"),
        ("1,000 mg iv", "a comma is not read in numbers"),
        ("100 mg evry 12 h x 3", "did you mean 'every'"),
        ("100 mg sc", "no route 'sc'"),
        ("100 mg iv x 10", "x 10 needs an interval"),
        ("100 mg iv over 1 mg", "another dimension"),
        ("100 mg iv infusion", "needs its length or rate"),
        ("100 mg iv bolus over 1 h", "a bolus has no length"),
        ("100 mg iv over 1 h rate 3 mg/h", "only one of duration, rate"),
        ("-5 mg iv", "must not be negative"),
        ("100 mg 200 mg iv", "amount twice"),
        ("100 mg/m^2 iv", "another dimension"),
        ("100 mg iv steady state", "steady state needs an interval"),
        ("100 mg iv at 2 h at 3 h", "at twice"),
    ],
)
def test_dose_texts(text, dose):
    model = dl.models.load("phenytoin_adult_grasela1983")
    if isinstance(dose, dl.Dose):
        assert read_doses([text], model, {"weight": 70.0}, until=96.0) == dl.Regimen(dose)
    else:
        with pytest.raises(dl.DoseloopError, match=dose):
            read_doses([text], model, {"weight": 70.0}, until=96.0)


def test_repeats_without_count_need_an_end():
    model = dl.models.load("phenobarbital_neonate_grasela1985")
    with pytest.raises(dl.DoseloopError, match="say how often"):
        read_doses(["5 mg every 12 h"], model)


def test_covariates_are_converted_and_checked():
    model = dl.models.load("vancomycin_adult_goti2018")
    assert read_covariates(["weight=70000 g, AGE=40"], model)["weight"] == 70.0
    with pytest.raises(dl.DoseloopError, match="mass and moles") as error:
        read_covariates(["scr=88 umol/L", "size=4", "age"], model)
    assert len(error.value.problems) == 4


def test_recommend_answers_in_full(run, tmp_path):
    code, out, err = run("recommend", ADULT, "--therapy", "vancomycin")
    assert code == 0
    assert err == ""
    text = one_line(out)
    for words in (CONFIRMS, "Posterior under vancomycin_adult_thomson2009, probability", "90 % band", "information",
                  "consistent", "Forecast of the concentration", "Regimens, best first", "no dose", "Reasons",
                  "is within every limit", "→ Give vancomycin"):  # fmt: skip
        assert words in text
    assert (tmp_path / "out/vancomycin.png").stat().st_size > 20_000
    saved = json.loads((tmp_path / "out/vancomycin.json").read_text())
    assert saved["sentence"] in text


def test_recommend_json_is_what_replay_reads(run, tmp_path):
    code, out, err = run("recommend", ADULT, "--therapy", "vancomycin", "--json")
    assert code == 0
    assert CONFIRMS in err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.json").write_text(out)
    code, out, _ = run("replay", "a.json")
    assert code == 0
    assert "bit for bit" in out
    assert CONFIRMS in one_line(out)


def test_replay_says_what_differs(run, tmp_path):
    run("recommend", ADULT, "--therapy", "vancomycin", "--out", ".")
    saved = json.loads(Path("vancomycin.json").read_text())
    saved["candidates"][0]["p_target"] = 0.123
    Path("b.json").write_text(json.dumps(saved))
    code, out, _ = run("replay", "b.json")
    assert code == 4
    assert "candidates[0].p_target: 0.123 saved" in out
    code, _, err = run("replay", ADULT)
    assert code == 2
    assert "not a saved recommendation" in err


def test_no_dose_has_its_own_exit_code_and_a_sentence(run):
    code, out, _ = run("recommend", INFANTS, "--therapy", "phenobarbital", "--id", 1, "--now", 600)
    assert code == 3
    assert "→ No dose is advised" in out
    assert "Forecast of the concentration, without a further dose" in out
    assert CONFIRMS in out


def test_a_level_that_does_not_fit_needs_to_be_verified(run, tmp_path):
    rows = ["ID,TIME[h],AMT[mg],EVID,DV[mg/L],WT[kg],APGAR", "1,0,25,1,.,1.4,7", "1,2,.,0,17.3,1.4,7"]
    rows += [*(f"1,{12 * k},3.5,1,.,1.4,7" for k in range(1, 10)), "1,112.5,.,0,4,1.4,7"]
    (tmp_path / "odd.csv").write_text("\n".join(rows) + "\n")
    command = ["recommend", str(tmp_path / "odd.csv"), "--therapy", "phenobarbital", "--out", str(tmp_path / "out")]
    code, out, _ = run(*command)
    assert code == 3
    assert "implausible" in out
    code, out, _ = run(*command, "--verified")
    assert code == 0
    assert "implausible" in out


def test_now_start_and_seed_are_used(run):
    base = ("recommend", INFANTS, "--therapy", "phenobarbital", "--id", 1, "--json")
    early = json.loads(run(*base, "--now", "2 day", "--start", 60, "--seed", 5)[1])
    assert early["record"]["now"] == 48
    assert len(early["record"]["observed"]) == 1
    assert early["options"]["seed"] == 5
    assert early["options"]["start"] == 60
    assert min(dose["time"] for dose in early["regimen"]) >= 60


def test_several_patients_need_a_choice(run):
    code, out, err = run("recommend", INFANTS, "--therapy", "phenobarbital")
    assert (code, out) == (2, "")
    assert "holds 59 patients: choose one by --id: 1, 2, 3" in err
    assert "holds no patient --id 77" in run("recommend", INFANTS, "--therapy", "phenobarbital", "--id", 77)[2]


def test_recommend_lists_every_problem(run, tmp_path):
    (tmp_path / "file").touch()
    code, out, err = run(
        "recommend", "no.csv", "--therapy", "vancomicin", "--units", "TIME", "--out", "file", "--seed", -1
    )
    assert (code, out) == (2, "")
    for words in (
        "did you mean 'vancomycin'",
        "no.csv: No such file",
        "'TIME' says no unit",
        "cannot write to",
        "--seed -1",
    ):
        assert words in err


def test_a_bad_table_is_one_error_with_lines(run, tmp_path):
    text = ADULT.read_text().replace("12.4", "high").replace("TIME[h]", "TIME")
    (tmp_path / "bad.csv").write_text(text)
    code, _, err = run("recommend", "bad.csv", "--therapy", "vancomycin")
    assert code == 2
    assert "line 4, column DV" in err
    assert "column TIME: the unit is not stated" in err
    (tmp_path / "mended.csv").write_text(text.replace("high", "12.4"))
    assert run("recommend", "mended.csv", "--therapy", "vancomycin", "--units", "TIME=h")[0] == 0


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"ID,TIME\n", bytes(range(256)) * 10])
def test_no_traceback_for_any_file(run, tmp_path, content):
    (tmp_path / "x.csv").write_bytes(content)
    for command in (["recommend", "x.csv", "--therapy", "vancomycin"], ["replay", "x.csv"]):
        code, _, err = run(*command)
        assert code == 2
        assert "Traceback" not in err
        assert "unexpected" not in err


def test_standard_input(run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(ADULT.read_bytes())))
    code, out, _ = run("recommend", "-", "--therapy", "vancomycin")
    assert code == 0
    assert "out/record.json" in out.replace(os.sep, "/")


def test_a_start_before_now_is_refused(run):
    code, _, err = run("recommend", ADULT, "--therapy", "vancomycin", "--start", 3)
    assert code == 2
    assert "--start 3 lies before now (47.5)" in err


def test_demo_writes_plot_and_json(run, tmp_path):
    code, out, err = run("demo")
    assert code == 0
    assert "Give phenobarbital" in out
    assert "warm: 0." in out
    assert "recommending, first run" in err
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"demo.png", "demo.json"}
    assert run("replay", "out/demo.json")[0] == 0
    assert run("demo", "--id", "abc")[0] == 2


@pytest.mark.slow
def test_validate_prints_and_writes(run, tmp_path):
    code, out, _ = run("validate", "phenobarbital")
    assert code == 0
    assert "MAPE, %" in out
    assert CONFIRMS in out
    assert len(list((tmp_path / "out").iterdir())) == 3
    saved = json.loads((tmp_path / "out/validate-phenobarbital.json").read_text())
    assert len(saved["predictions"]) == 155


def test_validate_needs_data(run):
    code, _, err = run("validate", "vancomycin")
    assert code == 2
    assert "no patients' data ship" in err


def test_validate_takes_a_file(run, tmp_path):
    code, out, _ = run("validate", "vancomycin", "--data", ADULT)
    assert code == 0
    assert "3 (1)" in out


def test_warm_names_every_model(run):
    code, out, err = run("warm")
    assert code == 0
    assert "compiling; kept in" in out
    assert all(i in err for i in dl.models.ids())


def test_an_unexpected_failure_is_one_line(run, monkeypatch):
    monkeypatch.setattr(dl.models, "ids", lambda: 1 / 0)
    code, _, err = run("models")
    assert code == 1
    assert "unexpected ZeroDivisionError" in err
    assert "Traceback" not in err
    monkeypatch.setenv("DOSELOOP_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["models"])


@pytest.mark.skipif(os.name == "nt", reason="pipes differ")
def test_a_closed_pipe_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "doseloop", "models"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_ascii_terminal_is_no_error():
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-m", "doseloop", "therapies"], capture_output=True, text=True, env=env)
    assert done.returncode == 0
    assert done.stderr == ""


def test_compilation_is_told(run, tmp_path, monkeypatch):
    """In an empty cache the loops are compiled, and it is said; here a loop of our own."""
    import numba
    from doseloop.twin.warm import Watch

    told = []
    with Watch(told.append) as watch:
        numba.njit(lambda x: x + 1)(1)
    assert watch.loops == 1
    assert watch.seconds > 0
    assert told[0].startswith("compiling the loop")
    assert "1 loop compiled in" in watch.sentence
    with Watch() as quiet:
        pass
    assert quiet.sentence == "nothing to compile, 0 kernels from the cache"
