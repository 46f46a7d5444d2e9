"""Figures: what is drawn, with which labels; that nothing lies on anything else."""

from dataclasses import replace

import doseloop as dl
import numpy as np
import pytest
from doseloop.controller import plotting
from doseloop.pkpd.plotting import Given, dose_panel, new_figure, save, time_axis, trajectory_plot


@pytest.fixture
def figures(monkeypatch):
    """The figures that were made, for a look at their artists."""
    made = []
    monkeypatch.setattr(plotting, "new_figure", lambda *size: made.append(new_figure(*size)) or made[-1])
    return made


@pytest.fixture(scope="module")
def therapy():
    return dl.therapies.load("phenobarbital")


@pytest.fixture(scope="module")
def infant(therapy):
    return next(r for r in dl.example(therapy) if r.id == "32")


@pytest.fixture(scope="module")
def answer(therapy, infant):
    return dl.recommend(therapy, infant)


def texts(ax):
    legend = ax.get_legend()
    return " | ".join([t.get_text() for t in ax.texts] + ([t.get_text() for t in legend.get_texts()] if legend else []))


def flat(ax):
    """Heights of the horizontal lines across an axes."""
    return sorted({float(y[0]) for line in ax.lines if len(set(y := line.get_ydata())) == 1 and len(y) == 2})


def boxes(ax):
    renderer = ax.figure.canvas.get_renderer()
    return [t.get_window_extent(renderer) for t in ax.texts if t.get_visible() and t.get_text()]


def overlapping(boxes):
    return [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]


def test_recommendation_shows_everything_with_units(answer, figures, tmp_path):
    path = dl.plot_recommendation(answer, tmp_path / "a.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    (figure,) = figures
    level, dose = figure.axes
    assert level.get_ylabel() == "concentration (mg/L)"
    assert dose.get_ylabel() == "dose (mg)"
    assert dose.get_xlabel() == "time (h, and days)"
    assert " ".join(figure.get_suptitle().split()) == answer.sentence
    assert flat(level) == [15, 40, 50]  # the goal's edges and both harms
    for words in ("target trough\n15–40 mg/L", "level above 50 mg/L", "level above 40 mg/L", "at most 5 % likely",
                  "now, 83.5 h", "measured", "90 % band", "50 % band", "median"):  # fmt: skip
        assert words in texts(level)
    assert "given | recommended" in texts(dose)
    assert "7 × 6" in texts(dose)
    points = next(line for line in level.lines if line.get_label() == "measured")
    assert list(points.get_ydata()) == [12.7, 22.1, 21.2]
    now = [line for line in level.lines if list(line.get_xdata()) == [83.5, 83.5]]
    assert len(now) == 1
    assert level.get_ylim()[1] > 50
    assert any("a clinician confirms every dose" in t.get_text() for t in figure.texts)


def test_bars_say_given_and_recommended_without_colour(answer, figures, tmp_path):
    dl.plot_recommendation(answer, tmp_path / "a.png")
    bars = figures[0].axes[1].patches
    planned = [b for b in bars if b.get_hatch()]
    assert [round(b.get_height(), 6) for b in planned] == [7] * 6
    assert len(bars) - len(planned) == 8
    assert min(b.get_x() for b in planned) >= answer.record.now


def test_bands_can_be_told_apart_in_grey(answer, figures, tmp_path):
    dl.plot_recommendation(answer, tmp_path / "a.png")
    level = figures[0].axes[0]
    grey = {c.get_label(): float(c.get_facecolor()[0][:3] @ [0.299, 0.587, 0.114]) for c in level.collections}
    assert 1 - grey["90 % band"] > 0.12
    assert grey["90 % band"] - grey["50 % band"] > 0.12


def test_labels_do_not_lie_on_each_other(answer, figures, tmp_path):
    dl.plot_recommendation(answer, tmp_path / "a.png")
    for ax in figures[0].axes:
        ax.figure.draw_without_rendering()
        assert overlapping(boxes(ax)) == []


def test_labels_of_near_limits_are_set_apart():
    ax = new_figure(8, 3).add_subplot()
    ax.set_ylim(0, 10)
    ax.plot([1], [1], label="median")
    plotting._side_labels(
        ax, [(5.0, "one\nof two lines", "k"), (5.0, "another", "k"), (5.2, "third", "k")], legend=True
    )
    ax.figure.draw_without_rendering()
    assert overlapping(boxes(ax)) == []


def test_a_level_below_the_limit_is_an_open_triangle(therapy, infant, figures, tmp_path):
    low = dl.Measurement(1.0, "concentration", 5.0, 5.0, True)
    record = replace(infant, observed=(low, *infant.observed))
    dl.plot_recommendation(dl.recommend(therapy, record), tmp_path / "a.png")
    (marks,) = (line for line in figures[0].axes[0].lines if "below" in str(line.get_label()))
    assert (marks.get_marker(), marks.get_markerfacecolor()) == ("v", "white")
    assert list(marks.get_xydata()[0]) == [1.0, 5.0]


def test_without_a_dose_the_forecast_is_still_drawn(therapy, infant, figures, tmp_path):
    old = dl.recommend(therapy, replace(infant, now=infant.now + 500))
    assert old.outcome is dl.Outcome.DATA
    dl.plot_recommendation(old, tmp_path / "a.png")
    level, dose = figures[0].axes
    assert "90 % band" in texts(level)
    assert not [b for b in dose.patches if b.get_hatch()]
    assert level.get_xlim()[1] > infant.now + 500


def test_without_a_posterior_facts_and_limits_are_drawn(infant, answer, figures, tmp_path):
    nothing = replace(infant, observed=(), given=dl.Regimen())
    bare = replace(
        answer, record=nothing, posterior=None, forecast=None, regimen=None, candidates=(), outcome=dl.Outcome.FAILED
    )
    dl.plot_recommendation(bare, tmp_path / "a.png")
    level = figures[0].axes[0]
    assert flat(level) == [15, 40, 50]
    assert "band" not in texts(level)
    assert "no doses" in texts(figures[0].axes[1])


def test_exposure_has_a_panel_of_its_own(figures, tmp_path):
    therapy = dl.therapies.load("vancomycin")
    root = dl.models.__path__[0]
    record = dl.read(f"{root}/../examples/vancomycin.csv", therapy.layout)[0]
    answer = dl.recommend(therapy, record)
    dl.plot_recommendation(answer, tmp_path / "a.png")
    level, auc, dose = figures[0].axes
    assert flat(level) == [20]
    assert flat(auc) == [400, 600, 677]
    assert "mg·h/L" in auc.get_ylabel()
    assert "target AUC24\n400–600 mg·h/L" in texts(auc)
    assert "2000" in texts(dose)
    # the drawn median at the end is the candidate's
    line = max(auc.lines, key=lambda item: len(item.get_xdata()))
    assert line.get_ydata()[-1] == pytest.approx(answer.candidates[0].bands["auc24"][1], rel=0.01)


def test_a_figure_that_cannot_be_written_is_an_oserror(answer, tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        dl.plot_recommendation(answer, tmp_path / "nowhere" / "a.png")


def test_equal_figures_are_equal_files(answer, tmp_path):
    a, b = (dl.plot_recommendation(answer, tmp_path / f"{n}.png").read_bytes() for n in "ab")
    assert a == b


@pytest.fixture(scope="module")
def model():
    return dl.models.load("phenytoin_adult_grasela1983")


def test_trajectory_of_one_is_a_line_of_many_a_band(model):
    doses = dl.Oral(300, every=24, times=3)
    one = trajectory_plot(dl.simulate(model, regimen=doses, times=np.arange(0, 73.0)))
    assert one.get_ylabel() == "concentration (mg/L)"
    assert one.get_xlabel() == "time (h)"
    assert len(one.lines) == 1
    eta = np.random.default_rng(1).normal(0, 0.1, (40, 2))
    many = dl.simulate(model, dl.individuals(model, None, eta), doses, np.arange(0, 97.0))
    ax = many.plot()
    assert [c.get_label() for c in ax.collections] == ["90 % band", "50 % band"]
    assert ax.get_xlabel() == "time (h, and days)"
    few = many.plot("concentration", new_figure(4, 3).add_subplot())
    assert few is not ax


def test_dose_labels_are_set_apart_or_left_out(tmp_path):
    crowd = dl.Regimen(*[dl.Bolus(100 + i % 7, i) for i in range(200)])
    figure = new_figure(8, 2)
    ax = figure.add_subplot()
    dose_panel(ax, [Given(crowd, "given")], "mg", 0, 200)
    save(figure, tmp_path / "d.png")
    found = boxes(ax)
    assert 10 < len(found) < 150
    assert overlapping(found) == []
    assert all(b.y1 <= ax.bbox.y1 + 1 for b in found)


def test_a_steady_state_is_said(tmp_path):
    ax = new_figure(8, 2).add_subplot()
    dose_panel(ax, [Given(dl.Regimen(dl.Bolus(5, every=12, steady_state=True)), "given")], "mg", 0, 48)
    assert "5, steady state" in texts(ax)


def test_labels_stay_off_the_bars_of_others():
    ax = new_figure(8, 2).add_subplot()
    doses = dl.Regimen(dl.Bolus(1, 0), dl.Bolus(1, 20), dl.Infusion(3, 8, duration=4))
    low = dl.Regimen(dl.Bolus(1, 0, every=20, times=2))
    dose_panel(ax, [Given(low, "given"), Given(dl.Regimen(doses.doses[1]), "planned", True)], "mg", 0, 24)
    ax.figure.draw_without_rendering()
    (label,) = (t for t in ax.texts if "× 2" in t.get_text())
    assert label.get_position()[1] >= 3


def test_nothing_is_drawn_before_a_steady_state(figures, tmp_path):
    therapy = dl.therapies.load("vancomycin")
    adult = {"weight": 80.0, "age": 50.0, "sex": 0.0, "scr": 0.9, "dialysis": 0.0}
    given = dl.Regimen(dl.Infusion(1000, duration=2, every=12, steady_state=True))
    record = dl.Record("ss", (dl.CovariateRow(0.0, adult),), given, (dl.Measurement(11.0, "concentration", 9.0),), 11.0)
    dl.plot_recommendation(dl.recommend(therapy, record), tmp_path / "a.png")
    level, auc, _ = figures[0].axes
    median, exposure = (max(ax.lines, key=lambda item: len(item.get_xdata())) for ax in (level, auc))
    assert median.get_ydata().min() > 3
    assert np.isnan(exposure.get_ydata()[exposure.get_xdata() < 24]).all()
    assert np.isfinite(exposure.get_ydata()[-1])


def test_no_doses_are_said():
    ax = new_figure(8, 2).add_subplot()
    dose_panel(ax, [Given(dl.Regimen(), "given")], "mg", 0, 48)
    assert "no doses" in texts(ax)


@pytest.mark.parametrize(("span", "days"), [(5, False), (72, False), (73, True), (2000, True)])
def test_time_axis(span, days):
    ax = new_figure(8, 2).add_subplot()
    time_axis(ax, 0, span, "h")
    ax.figure.draw_without_rendering()
    ticks = [t.get_text() for t in ax.get_xticklabels() if t.get_text()]
    assert 3 <= len(ticks) <= 13
    assert ("days" in ax.get_xlabel()) is days
    assert all(("d" in t) is days for t in ticks) or span == 2000
