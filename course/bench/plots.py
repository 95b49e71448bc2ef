"""Charts of measurements. One function, one chart; each returns a matplotlib Figure.

They take a table with one measurement a row and the names of its columns: ``x`` (a size),
``y`` (a time, an amount of memory) and ``series`` (what is compared). Rows without a
positive number are left out. ``source`` is the sentence of :func:`course.bench.measured.load`.
"""

import io

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^Dv<>"


class Chart(Figure):
    """A Figure that a notebook shows as the value of a cell, whether or not pyplot is loaded."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()


def time_chart(
    frame: pd.DataFrame, x: str, y: str, series: str, title: str = "", source: str = ""
) -> Figure:
    """Time against size, both logarithmic: a constant factor is a constant distance."""
    figure, axes = _canvas(title, source)
    _lines(axes, frame, x, y, series)
    axes.set_yscale("log")
    return _finish(figure, axes, x, "time (ms)")


def memory_chart(
    frame: pd.DataFrame, x: str, y: str, series: str, title: str = "", source: str = ""
) -> Figure:
    """Memory (MiB) against size, both logarithmic: N grows by one step a doubling, N² by two."""
    figure, axes = _canvas(title, source)
    _lines(axes, frame, x, y, series)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return _finish(figure, axes, x, "memory (MiB)")


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
    figure, axes = _canvas(title, source)
    long = ratios.reset_index().melt(id_vars=x, var_name=series, value_name="speedup")
    _lines(axes, long, x, "speedup", series)
    axes.set_ylim(bottom=0)
    return _finish(figure, axes, x, f"times as fast as {baseline}")


def scaling_chart(
    frame: pd.DataFrame, x: str, y: str, series: str, title: str = "", source: str = ""
) -> Figure:
    """Growth with size: each series with its fitted power of ``x``, written in the legend."""
    figure, axes = _canvas(title, source)
    for index, (name, one) in enumerate(_series(frame, x, y, series)):
        power, factor = fitted_power(one[x], one[y])
        color = COLORS[index % len(COLORS)]
        label = name if np.isnan(power) else f"{name}: N$^{{{power:.2f}}}$"
        axes.plot(one[x], one[y], MARKERS[index % len(MARKERS)], color=color, label=label)
        axes.plot(one[x], factor * one[x].astype(float) ** power, color=color, linewidth=1)
    axes.set_yscale("log")
    return _finish(figure, axes, x, y)


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


def _canvas(title: str, source: str) -> tuple[Figure, Axes]:
    figure = Chart(figsize=(6.4, 4.0), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    if source:
        figure.supxlabel(source, x=0.99, ha="right", fontsize=7, color="0.4")
    return figure, axes


def _series(frame: pd.DataFrame, x: str, y: str, series: str) -> list[tuple[str, pd.DataFrame]]:
    measured = frame[frame[y].astype(float) > 0]
    groups = measured.groupby(series, sort=False)
    return [(str(name), one.sort_values(x)) for name, one in groups]


def _lines(axes: Axes, frame: pd.DataFrame, x: str, y: str, series: str) -> None:
    for index, (name, one) in enumerate(_series(frame, x, y, series)):
        axes.plot(
            one[x],
            one[y],
            marker=MARKERS[index % len(MARKERS)],
            markersize=4,
            color=COLORS[index % len(COLORS)],
            label=name,
        )


def _finish(figure: Figure, axes: Axes, x_label: str, y_label: str) -> Figure:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(True, which="major", color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
    return figure
