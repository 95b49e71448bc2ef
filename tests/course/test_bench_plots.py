"""Charts: what they draw, and that their labels do not run into each other."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from course.bench import plots
from course.bench.canvas import COLORS, style_of
from course.bench.registry import find


def frame(names: str = "ab") -> pd.DataFrame:
    return pd.DataFrame(
        {"n": n, "what": what, "ms": None if (what, n) == ("b", 4) else ms * (1 + i / 50)}
        for n, ms in ((1, 1.0), (2, 4.0), (4, 16.0))
        for i, what in enumerate(names)
    )


def labels(figure) -> list:
    return [text for text in figure.axes[0].texts if text.get_text()]


def overlaps(figure) -> list[tuple[str, str]]:
    figure.draw_without_rendering()
    # an annotation's own extent holds its line too
    boxes = [(t.get_text(), Text.get_window_extent(t)) for t in labels(figure)]
    return [
        (a, b)
        for i, (a, one) in enumerate(boxes)
        for b, other in boxes[i + 1 :]
        # a pixel of touching cannot be seen
        if one.x0 < other.x1 and other.x0 < one.x1
        if min(one.y1, other.y1) - max(one.y0, other.y0) > 2
    ]


@pytest.mark.parametrize("chart", ["time", "memory", "scaling", "speedup"])
@pytest.mark.parametrize("names", ["ab", "abcdefgh"])
def test_every_chart_names_its_lines_beside_them_apart_from_each_other(chart, names):
    more = {"baseline": "a"} if chart == "speedup" else {}
    figure = getattr(plots, f"{chart}_chart")(frame(names), "n", "ms", "what", source="X", **more)
    assert sorted(t.get_text().split(":")[0] for t in labels(figure)) == sorted(names)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert not overlaps(figure)
    width = figure.bbox.width
    assert all(0 < t.get_window_extent().x1 <= width for t in labels(figure)), "cut off"


def test_growth_is_fitted_and_written_beside_the_line():
    table = pd.DataFrame({"n": [2**i for i in range(8, 14)], "what": "x"})
    table["ms"] = 3e-6 * table["n"].astype(float) ** 2
    figure = plots.scaling_chart(table, "n", "ms", "what")
    assert [t.get_text() for t in labels(figure)] == ["x: N$^{2.00}$"]


def test_a_power_law_is_found_where_launching_no_longer_counts():
    x = pd.Series([2**n for n in range(4, 14)])
    power, factor = plots.fitted_power(x, 3e-6 * x**2)
    assert (power, factor) == (pytest.approx(2.0), pytest.approx(3e-6))
    power, _ = plots.fitted_power(x, (3e-6 * x**2).clip(lower=0.01))
    assert power == pytest.approx(2.0)
    assert np.isnan(plots.fitted_power(x[:1], x[:1])[0])


def test_the_speed_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="'z' is not among"):
        plots.speedup_chart(frame(), "n", "ms", "what", "z")


def test_the_roof_is_where_it_was_measured():
    points = pd.DataFrame(
        {"implementation": ["one", "two", "lost"], "intensity": [32.0, 2048.0, 1.0]}
    ).assign(TFLOP_per_s=[10.0, 400.0, None])
    rates = {"bf16": 716.0, "fp16": 720.0, "fp32": 52.0}
    figure = plots.roofline_chart(points, 4300.0, rates, "R", "X")
    words = [t.get_text() for t in labels(figure)]
    assert "a copy: 4.3 TB/s" in words and "fp16, bf16 products: 720 TFLOP/s" in words
    assert "one" in words and "lost" not in words
    slope, flat, *_ = (np.asarray(line.get_xydata()) for line in figure.axes[0].lines)
    assert slope[0, 1] == pytest.approx(slope[0, 0] * 4.3)
    assert flat[:, 1].tolist() == [720.0, 720.0]
    assert not overlaps(figure)


@pytest.mark.parametrize("last", [1.0, 0.01])
def test_the_ladder_says_how_much_faster_each_rung_is(last):
    figure = plots.ladder_chart([("naive", 4.0), ("tiled", 2.0), ("fp8", last)])
    words = [t.get_text() for t in labels(figure)]
    assert words[0] == "4 ms" and words[1].endswith("2x") and words[2].endswith(f"{4 / last:.3g}x")
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["naive", "tiled", "fp8"]


def test_a_kernel_has_one_colour_in_all_charts():
    assert style_of("flash_triton", 5) == style_of("flash_triton", 0)
    assert style_of("expert", 0).color != style_of("flash_triton", 0).color
    assert len(set(COLORS)) == len(COLORS)


def test_what_a_run_can_draw_depends_on_what_varies(tmp_path: Path):
    op = find("attention")
    rows = [
        {"implementation": name, **op.case(seq_len=n), "forward_ms": ms * n, "status": "ok"}
        | {"forward_peak_MiB": n / 16}
        for name, ms in (("flash_triton", 0.001), ("naive", 0.01))
        for n in (1024, 2048)
    ]
    several = plots.drawings(op, pd.DataFrame(rows), ["forward", "total"], "X")
    assert sorted(several) == [f"forward_{k}" for k in ("memory", "scaling", "speedup", "time")]
    alone = plots.drawings(op, pd.DataFrame(rows[::2]), ["forward"], "X")
    assert sorted(alone) == ["forward_bars"]
    for name, draw in (several | alone).items():
        draw().savefig(tmp_path / f"{name}.png")
