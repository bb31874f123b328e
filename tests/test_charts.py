"""Charts: what they say, in which bytes, and where numbers lie on an axis."""

import math
import re
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdist.tools import charts, scales
from ragdist.tools.charts import COLOURS, Point
from ragdist.tools.scales import Scale

ODD = ["<a>", "_b", "$c_d$", "&amp;", "数字", "line\nbreak\x01\udc80"]
SHOWN = ["<a>", "_b", "$c_d$", "&amp;", "数字", "line?break??"]
UNIT = Scale("x"), Scale("y")
EACH = {
    "lines": lambda: charts.lines({"a": [(0, 1), (10, 2)], "b": [(5, 2)]}, "x", "y"),
    "plane": lambda: charts.plane([(0.2, 0.3), (1.0, 1.0)], "x", "y"),
    "bars": lambda: charts.bars(["one", "two"], {"x": [1, 2], "z": [2, 0]}, "y"),
    "scatter": lambda: charts.scatter([Point(0.5, 0.5, COLOURS[0], "x", hollow=True)], *UNIT, [(0.1, "#000", "y")]),
    "curves": lambda: charts.curves([([(0, 0), (1, 1)], COLOURS[0], 1.2, "x")], *UNIT),
    "parallel": lambda: charts.parallel(UNIT, [([0.1, 0.9], COLOURS[0], 1.2, "t")]),
    "median_bars": lambda: charts.median_bars({"x": {"a": [1, 2, 3]}, "z": {"a": [2], "b": [3]}}, "y"),
}


def said(chart: str) -> list[str]:
    """The texts of a chart, tooltips among them."""
    return [element.text for element in ElementTree.fromstring(chart).iter() if element.text]


def tooltips(chart: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(chart).iter("title")]


@pytest.mark.parametrize("kind", EACH)
def test_a_chart_is_small_stands_alone_and_has_the_same_bytes_each_time(kind):
    chart = EACH[kind]()
    assert chart == EACH[kind]()
    assert chart.startswith("<svg")
    assert len(chart) < 6_000
    assert {"x", "y"} <= set(" ".join(said(chart)).replace(",", "").split())
    assert not re.search(r"DejaVu|url\(|<style|<image|<!|20\d\d-", chart)
    assert set(re.findall(r'href="#([^"]*)"', chart)) <= set(re.findall(r'id="([^"]*)"', chart))
    assert not re.search(r'href="(?!#)', chart)


@pytest.mark.parametrize("kind", EACH)
def test_a_pages_charts_take_its_text_colour_and_a_file_has_a_white_ground(kind):
    chart = EACH[kind]()
    alone = kind == "median_bars"
    assert ("currentColor" in chart) != alone
    assert (charts.INK in chart) == alone
    assert ("fill: #ffffff" in chart) == alone
    assert (ElementTree.fromstring(chart).tag == "{http://www.w3.org/2000/svg}svg") == alone


def test_names_are_shown_as_they_are():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = [
            charts.lines({name: [(0, 1), (1, 2)] for name in ODD}, "x"),
            charts.bars([*ODD], {name: [1] * len(ODD) for name in ODD[:3]}, ODD[0]),
            charts.scatter([Point(name, 0, "#000", name) for name in ODD], Scale.of(ODD[2], ODD), UNIT[1]),
            charts.parallel([Scale.of(name, ODD) for name in ODD], [([ODD[0]] * len(ODD), "#000", 1, ODD[0])]),
            charts.median_bars({name: {key: [1.0] for key in ODD} for name in ODD[:2]}, ""),
        ]
    for chart in drawn:
        texts = set(said(chart))
        assert {name if len(name) <= 10 else name[:9] + "…" for name in SHOWN} <= texts or set(SHOWN) <= texts


def test_lines_leave_out_what_is_not_finite():
    assert charts.lines({"a": [], "b": [(0, float("nan"))]}, "x") == ""
    chart = charts.lines({"a": [(0, 1), (5, float("inf")), (10, 1)], "b": [(0, float("nan"))]}, "x")
    assert chart.count("<use") == 2
    assert "b" not in said(chart)


@pytest.mark.parametrize("values", [(1.0, 1.0), (1.0, math.nextafter(1.0, 2)), (0.0, 5e-324), (-1e300, 1e300), (0, 0)])
def test_lines_of_any_values_are_drawn(values):
    assert charts.lines({"a": list(enumerate(values))}, "x").count("<use") == 2


def test_what_is_drawn_has_its_tooltip():
    points = [Point(0.5, 0.2, COLOURS[0], f"trial {number} & more") for number in range(3)]
    levels = [(0.4, COLOURS[2], "<default>")]
    assert tooltips(charts.scatter(points, *UNIT, levels)) == ["<default>", *(point.title for point in points)]
    assert tooltips(charts.bars(["one", "two"], {"x": [0, 0]}, "y")) == ["one: x 0", "two: x 0"]
    assert tooltips(charts.curves([([(0, 0), (1, 1)], "#000", 1.2, "a line")], *UNIT)) == ["a line"]
    assert tooltips(charts.parallel(UNIT, [([0, 1], "#000", 1.2, "a line")])) == ["a line"]


def test_a_value_lies_at_its_number():
    chart = charts.scatter([Point(10, 0.25, COLOURS[0], "t")], Scale.of("x", [0, 1, 10, 100]), Scale("y", 0, 0.5))
    root = ElementTree.fromstring(chart)
    (dot,) = root.iter("use")
    numbers = {element.text: element for element in root.iter("text")}
    assert {"0", "1", "10", "100", "0.2", "0.3"} <= set(numbers)
    assert float(dot.get("x")) == pytest.approx(float(numbers["10"].get("x")), abs=0.5)
    low, high = (float(numbers[text].get("y")) for text in ("0.2", "0.3"))
    middle = float(dot.get("y"))
    assert high < middle < low
    assert middle - high == pytest.approx((low - high) / 2, abs=6)  # a text's baseline lies below its middle


def test_a_number_on_an_axis_is_short():
    assert [scales.short(value) for value in (0.25, 40_000, 1.2e6)] == ["0.25", "40k", "1.2M"]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_labels_differ_on_a_range_however_narrow(low, span):
    ticks = Scale("x", low, low + span).ticks()
    assert len(ticks) >= 3
    assert len({label for _, label in ticks}) == len(ticks)
    assert all(-1e-6 <= share <= 1 + 1e-6 for share, _ in ticks)


@given(st.floats(-4, 4), st.floats(0.05, 4))
def test_an_axis_has_round_numbers_that_say_where_it_is(low, span):
    low, high = 10**low, 10 ** (low + span)
    found = scales.log_ticks(low, high)
    assert 2 <= len(found) <= 14
    assert found == sorted(set(found))
    assert all(low <= tick <= high for tick in found)
    assert all(float(f"{tick:.3g}") == pytest.approx(tick, rel=1e-9) for tick in found)


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=9), st.booleans())
def test_scales_keep_the_order_and_the_frame(values, zero):
    scale = Scale.of("x", [*values, *([0.0] if zero else [])], log=True)
    shares = [scale.share(value) for value in sorted(values)]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1.0001 for share in shares)
    if zero:
        assert scale.share(0.0) < min(shares)
    assert all(0 <= share <= 1.0001 for share, _ in scale.ticks())


def test_only_what_draws_imports_matplotlib():
    modules = "ragdist.tools.charts, ragdist.training.trainer, ragdist.evaluation.during_training, tune.report"
    program = f"import sys, {modules}; assert 'matplotlib' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
