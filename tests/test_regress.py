"""benchmarks/regress.py: what it makes of two rows of times and of callgrind's dumps; floor_peak.py: what it counts."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def regress(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("regress")


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 1), (6, 1), (8, 1), (9, 2), (10, 2), (20, 6), (31, 10), (100, 40)])
def test_the_interval_of_a_median_is_the_tables_of_the_binomial(regress, n, k):
    # Conover, Practical Nonparametric Statistics, table of the sign test; below 6 no interval reaches 95 %
    assert regress.order_interval(n) == k


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.10] * 15, "slower"),
        ([1.099] * 15, "same"),
        ([1.05] * 4 + [1.3] * 11, "slower"),
        ([0.9] * 7 + [1.2] * 8, "unclear"),
        ([1 / 1.10] * 15, "faster"),
        ([0.92] * 15, "same"),
        ([0.5] * 8 + [1.2] * 7, "same"),
        ([1.2], "slower"),  # a count, which has no spread
    ],
)
def test_ten_per_cent_and_more_is_flagged_where_the_interval_agrees(regress, ratios, verdict):
    then = [2.0 + 0.1 * k for k in range(len(ratios))]  # a machine that slows down: pairs are compared, not sums
    found = regress.compare([r * t for r, t in zip(ratios, then)], then)
    assert found.verdict == verdict
    assert found.low <= found.median <= found.high


def test_the_ratio_is_the_median_of_pairs_with_its_order_statistics(regress):
    found = regress.compare([3.0, 1.1, 1.2, 0.9, 1.0, 1.3, 1.4, 0.8, 1.5], [1.0] * 9)
    assert (found.median, found.low, found.high) == (1.2, 0.9, 1.5)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        regress.compare([1.0, 2.0], [1.0])


def test_instructions_of_a_run_are_the_difference_of_two_dumps(regress, tmp_path):
    dump = "desc: Trigger: Client Request: {}|{}\nsummary: 18446744073705550236\n\ntotals: {}\n"
    for n, (name, many, total) in enumerate(
        [("step, a", 3, 1000), ("step, a", 6, 1600), ("b", 3, 90), ("b", 6, 120)], start=1
    ):
        (tmp_path / f"callgrind.out.{n}").write_text(dump.format(name, many, total))
    (tmp_path / "callgrind.out").write_text("desc: Trigger: Program termination\ntotals: 77\n")
    assert regress.counted(tmp_path) == {"step, a": 200.0, "b": 10.0}


KERNEL = """
declare <8 x double> @llvm.fma.v8f64(<8 x double>, <8 x double>, <8 x double>)

define void @kernel(ptr %x, ptr %out) {
entry:
  %v1 = load <8 x double>, ptr %x, align 8
  %v2 = fmul <8 x double> %v1, splat (double 3.000000e+00)
  br label %body

body:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %a = phi <8 x double> [ %v2, %entry ], [ %v7, %body ]
  %v3 = tail call <8 x double> @llvm.fma.v8f64(<8 x double> %a, <8 x double> %v1, <8 x double> %v2)
  %v4 = fcmp olt <8 x double> %v3, %v1
  %v5 = select <8 x i1> %v4, <8 x double> %v3, <8 x double> %v1
  %v6 = fcmp ogt <8 x double> %v5, zeroinitializer
  %v7 = select <8 x i1> %v6, <8 x double> %v3, <8 x double> %v2
  %v8 = fneg <8 x double> %v7
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, 3
  br i1 %more, label %body, label %done

done:
  %v9 = fdiv <8 x double> %v8, %v2
  store <8 x double> %v9, ptr %out, align 8
  ret void
}
"""


def test_operations_are_counted_a_loops_as_often_as_it_turns(regress):
    peak = importlib.import_module("floor_peak")
    assert peak.counted(KERNEL, loop=3) == {
        "load": 1, "mul": 1, "fma": 3, "minmax": 3, "choose": 3, "div": 1, "store": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match="no intrinsic"):
        peak.counted(KERNEL.replace("@llvm.fma.v8f64(<8 x double> %a", "@exp(<8 x double> %a"))
    with pytest.raises(ValueError, match="not counted: frem"):
        peak.counted(KERNEL.replace("fdiv", "frem"))
