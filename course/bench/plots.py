"""Charts of measurements. One function, one chart; each returns a matplotlib Figure.

They take a table with one measurement a row and the names of its columns: ``x`` (a size),
``y`` (a time, an amount of memory) and ``series`` (what is compared). Rows without a
positive number are left out. ``source`` is the sentence of :func:`course.bench.measured.load`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course.bench.canvas import Style, canvas, finish, label_ends, style_of
from course.bench.registry import Op


def time_chart(
    frame: pd.DataFrame, x: str, y: str, series: str, title: str = "", source: str = ""
) -> Figure:
    """Time against size, both logarithmic: a constant factor is a constant distance."""
    figure, axes = canvas(title, source)
    axes.set_yscale("log")
    _lines(axes, frame, x, y, series)
    return finish(figure, axes, x, "time (ms)")


def memory_chart(
    frame: pd.DataFrame, x: str, y: str, series: str, title: str = "", source: str = ""
) -> Figure:
    """Memory (MiB) against size, both logarithmic: N grows by one step a doubling, N² by two."""
    figure, axes = canvas(title, source)
    axes.set_yscale("log", base=2)
    _lines(axes, frame, x, y, series)
    return finish(figure, axes, x, "memory (MiB)")


def speedup_chart(
    frame: pd.DataFrame,
    x: str,
    y: str,
    series: str,
    baseline: str,
    title: str = "",
    source: str = "",
) -> Figure:
    """How many times faster than ``baseline`` (a value of ``series``) each of the others is.

    Raises:
        ValueError: nothing of the name ``baseline`` was measured.
    """
    wide = frame.pivot_table(index=x, columns=series, values=y, sort=False).sort_index()
    if baseline not in wide:
        raise ValueError(f"baseline: {baseline!r} is not among {sorted(map(str, wide.columns))}")
    ratios = wide.rdiv(wide[baseline], axis=0)
    figure, axes = canvas(title, source)
    long = ratios.reset_index().melt(id_vars=x, var_name=series, value_name="speedup")
    largest = long["speedup"].astype(float).max()
    if largest > 8:
        axes.set_yscale("log", base=2)
    else:
        axes.set_ylim(0, 1.05 * max(largest, 1.0))
    _lines(axes, long, x, "speedup", series)
    return finish(figure, axes, x, f"times as fast as {baseline}")


def scaling_chart(
    frame: pd.DataFrame, x: str, y: str, series: str, title: str = "", source: str = ""
) -> Figure:
    """Growth with size: each series with its fitted power of ``x``, written beside it."""
    figure, axes = canvas(title, source)
    axes.set_yscale("log")
    ends = []
    for index, (name, one) in enumerate(_series(frame, x, y, series)):
        power, factor = fitted_power(one[x], one[y])
        style = style_of(name, index)
        label = name if np.isnan(power) else f"{name}: N$^{{{power:.2f}}}$"
        axes.plot(one[x], one[y], style.marker, color=style.color, markersize=4, label=label)
        axes.plot(one[x], factor * one[x].astype(float) ** power, color=style.color, linewidth=1)
        ends.append((label, one[x].iloc[-1], one[y].iloc[-1], style))
    label_ends(axes, ends)
    return finish(figure, axes, x, "time (ms)" if y.endswith("_ms") else y)


def roofline_chart(
    points: pd.DataFrame,
    GB_per_s: float,
    TFLOP_per_s: Mapping[str, float],
    title: str = "",
    source: str = "",
) -> Figure:
    """Operations a byte against TFLOP/s, under the measured ceilings; one dot an implementation.

    Args:
        points: columns implementation, intensity (operations for each byte that must move) and
            TFLOP_per_s.
        GB_per_s, TFLOP_per_s: the ceilings, a copy's bandwidth and products' rates by dtype.
    """
    figure, axes = canvas(title, source)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    points = points[points["TFLOP_per_s"].astype(float) > 0].reset_index(drop=True)
    right = 4 * max([1000.0, *points["intensity"].astype(float)])
    left = min([4.0, *points["intensity"].astype(float) / 4])
    top = max([0.001, *TFLOP_per_s.values()])
    knee = top / GB_per_s * 1e3
    axes.plot([left, knee], [left * GB_per_s / 1e3, top], color="0.35", linewidth=1.2)
    axes.annotate(
        f"a copy: {GB_per_s / 1e3:.2g} TB/s",
        (left * 1.4, left * 1.4 * GB_per_s / 1e3),
        xytext=(6, -10),
        textcoords="offset points",
        fontsize=8,
        color="0.35",
    )
    by_rate = sorted(TFLOP_per_s.items(), key=lambda pair: -pair[1])
    # 16-bit products run at about one rate: one line for those within a tenth of each other
    groups: list[tuple[list[str], float]] = []
    for name, rate in by_rate:
        if groups and groups[-1][1] < 1.15 * rate:
            groups[-1][0].append(name)
        else:
            groups.append(([name], rate))
    for names, rate in groups:
        start = rate / GB_per_s * 1e3
        axes.plot([start, right], [rate, rate], color="0.35", linewidth=1.2)
        words = f"{', '.join(names)} products: {rate:.3g} TFLOP/s"
        axes.text(start * 1.5, rate * 1.04, words, va="bottom", fontsize=8, color="0.35")
    ends = []
    for index, row in points.iterrows():
        style = style_of(str(row["implementation"]), int(str(index)))
        axes.plot(row["intensity"], row["TFLOP_per_s"], style.marker, color=style.color)
        ends.append((str(row["implementation"]), row["intensity"], row["TFLOP_per_s"], style))
    lowest = min([groups[-1][1] if groups else 1.0, *points["TFLOP_per_s"].astype(float)])
    axes.set_xlim(left, right)
    axes.set_ylim(lowest / 3, top * 2)
    label_ends(axes, ends, at_point=True)
    return finish(figure, axes, "operations a byte that must move", "TFLOP/s")


def ladder_chart(
    steps: Sequence[tuple[str, float]], title: str = "", source: str = "", unit: str = "ms"
) -> Figure:
    """One step under the other: its time, and how many times as fast as the first it is.

    Bars, or points where times differ so much that only a logarithmic axis shows them all.

    Args:
        steps: (name, time) in the order they were climbed.
    """
    figure, axes = canvas(title, source, height=0.9 + 0.42 * max(3, len(steps)))
    names = [name for name, _ in steps]
    times = [time for _, time in steps]
    places = np.arange(len(steps))
    colors = [style_of(name, i).color for i, name in enumerate(names)]
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    spread = max(times, default=1.0) / min(times, default=1.0)
    if spread > 20:
        axes.set_xscale("log")
        axes.set_xlim(min(times) / 2, max(times) * 6)
        axes.plot(times, places, color="0.75", linewidth=1, zorder=1)
        axes.scatter(times, places, c=colors, s=60, zorder=2)
    else:
        axes.barh(places, times, color=colors)
        axes.set_xlim(0, 1.3 * max(times, default=1.0))
    for place, time in zip(places, times, strict=True):
        words = f"{time:.3g} {unit}" + (f"   {times[0] / time:.3g}x" if place else "")
        axes.annotate(
            words,
            (time, place),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.set_xlabel(f"time ({unit})")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.tick_params(axis="y", length=0)
    return figure


def drawings(
    op: Op, frame: pd.DataFrame, passes: Sequence[str], source: str
) -> dict[str, Callable[[], Figure]]:
    """The charts that rows of ``course bench`` can fill, by name; ``passes`` are in the names."""
    size = _grows(op, frame)
    made: dict[str, Callable[[], Figure]] = {}
    for what in passes:
        y = f"{what}_ms"
        if y not in frame or not (frame[y].astype(float) > 0).any():
            continue
        title = f"{op.name}, {what}"
        known = frame[frame[y].astype(float) > 0]
        if size is None:
            steps = list(zip(known["implementation"], known[y].astype(float), strict=True))
            made[f"{what}_bars"] = partial(ladder_chart, steps, title, source)
            continue
        args = (size, y, "implementation")
        first = str(known["implementation"].iloc[0])
        slowest = "naive" if "naive" in set(known["implementation"]) else first
        made[f"{what}_time"] = partial(time_chart, frame, *args, title, source)
        made[f"{what}_speedup"] = partial(speedup_chart, known, *args, slowest, title, source)
        made[f"{what}_scaling"] = partial(scaling_chart, frame, *args, title, source)
        peak = f"{what}_peak_MiB"
        if (frame[peak].astype(float) > 0).any():
            args = (size, peak, "implementation")
            made[f"{what}_memory"] = partial(memory_chart, frame, *args, title, source)
    return made


def fitted_power(x: pd.Series, y: pd.Series) -> tuple[float, float]:
    """``p, c`` of the least-squares fit ``y = c x^p`` in logarithms, over the larger half of x.

    The smaller sizes are left out where three remain: there launching costs more than working.
    NaN, NaN for fewer than two points.
    """
    order = np.argsort(np.asarray(x))
    log_x, log_y = (np.log(np.asarray(v, dtype=float)[order]) for v in (x, y))
    if len(log_x) < 2:
        return float("nan"), float("nan")
    keep = max(len(log_x) // 2, min(3, len(log_x)))
    power, log_factor = np.polyfit(log_x[-keep:], log_y[-keep:], 1)
    return float(power), float(np.exp(log_factor))


def _grows(op: Op, frame: pd.DataFrame) -> str | None:
    """The size that takes several values while the others stay, to draw against."""
    several = [name for name in op.sizes if frame[name].nunique() > 1]
    return several[0] if len(several) == 1 and frame["dtype"].nunique() == 1 else None


def _series(frame: pd.DataFrame, x: str, y: str, series: str) -> list[tuple[str, pd.DataFrame]]:
    measured = frame[frame[y].astype(float) > 0]
    groups = measured.groupby(series, sort=False)
    return [(str(name), one.sort_values(x)) for name, one in groups]


def _lines(axes: Axes, frame: pd.DataFrame, x: str, y: str, series: str) -> None:
    ends: list[tuple[str, float, float, Style]] = []
    for index, (name, one) in enumerate(_series(frame, x, y, series)):
        style = style_of(name, index)
        axes.plot(
            one[x],
            one[y],
            marker=style.marker,
            markersize=4,
            color=style.color,
            linewidth=style.width,
            linestyle=style.line,
            label=name,
        )
        ends.append((name, one[x].iloc[-1], one[y].iloc[-1], style))
    label_ends(axes, ends)
