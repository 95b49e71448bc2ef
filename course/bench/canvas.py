"""What the charts share: the paper, the colours, and labels that do not run into each other."""

import io
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

# Okabe and Ito's palette: told apart by colour-blind readers too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
MARKERS = "os^Dv<>P"
_LABEL_PT = 8.0


class Style(NamedTuple):
    """How one series is drawn."""

    color: str
    marker: str
    width: float = 1.4
    line: str = "-"


# the same colour in every chart
_KNOWN = {
    "flash_triton": Style(COLORS[0], "o", 2.2),
    "expert": Style(COLORS[1], "s", 2.2),
    "expert_any_order": Style(COLORS[1], "s", 2.2, "--"),
    "sdpa_flash": Style(COLORS[2], "^"),
    "sdpa_cudnn": Style(COLORS[3], "D"),
    "sdpa_efficient": Style(COLORS[4], "v"),
    "flex_attention": Style(COLORS[5], "<"),
    "sdpa_default": Style(COLORS[2], ".", 1.2, ":"),
    "sdpa_math": Style("0.45", "+", 1.2, ":"),
    "naive": Style(COLORS[6], "x", 1.2, "--"),
    "naive_batched": Style("0.45", "P", 1.2, "--"),
    "naive_compiled": Style(COLORS[7], ">", 1.2, "--"),
    "basic": Style(COLORS[4], "v"),
    "vectorized": Style(COLORS[5], "<"),
    "tiled": Style(COLORS[2], "^"),
    "multihead": Style(COLORS[0], "o"),
    "descriptors": Style(COLORS[3], "D"),
    "fp8": Style(COLORS[1], "s"),
}


class Chart(Figure):
    """A Figure that a notebook shows as the value of a cell, whether or not pyplot is loaded."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()


def style_of(name: str, index: int) -> Style:
    """The style of a known name, or that of the index-th."""
    return _KNOWN.get(name, Style(COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]))


def canvas(title: str, source: str, height: float = 4.0) -> tuple[Figure, Axes]:
    """An empty chart."""
    figure = Chart(figsize=(6.8, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    if source:
        figure.supxlabel(source, x=0.99, ha="right", fontsize=7, color="0.4")
    axes.grid(True, which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def finish(figure: Figure, axes: Axes, x_label: str, y_label: str) -> Figure:
    """Axes that read as numbers, with their names."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure


def label_ends(
    axes: Axes, ends: Sequence[tuple[str, float, float, Style]], at_point: bool = False
) -> None:
    """Write each name right of its last point, in its colour, one above the other where crowded.

    Args:
        ends: (name, x, y, style); the y-axis must have its scale already.
        at_point: beside the point itself; else in a column right of the chart, but for lines that
            end before the others.
    """
    if not at_point:
        axes.set_xscale("log", base=2)
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    inches = axes.get_window_extent().height / axes.figure.dpi
    step = 1.25 * _LABEL_PT / 72 / inches
    to_axes = axes.transData + axes.transAxes.inverted()
    last = max((x for _, x, *_ in ends), default=0.0)
    placed = sorted((to_axes.transform((x, y))[1], name, x, y, style) for name, x, y, style in ends)
    # a line that ends early is named where it ends: from the column one could not tell which it is
    early = [end for end in placed if end[2] < last and not at_point]
    late = [end for end in placed if end not in early]
    heights = [height for height, *_ in early]
    heights += _spread([height for height, *_ in late], step)
    for height, (_, name, x, y, style) in zip(heights, early + late, strict=True):
        beside = at_point or x < last
        column = to_axes.transform((x, y))[0] + 0.03 if beside else 1.02
        axes.annotate(
            name,
            (x, y),
            xytext=(column, height),
            textcoords="axes fraction",
            color=style.color,
            fontsize=_LABEL_PT,
            va="center",
            annotation_clip=False,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": style.color, "lw": 0.5, "alpha": 0.6},
        )


def _spread(wanted: Sequence[float], step: float) -> list[float]:
    """Heights in the same order, ``step`` apart at the least, near where they are wanted."""
    groups: list[list[float]] = []  # first height, number of members
    for height in wanted:
        groups.append([height, 1])
        while len(groups) > 1 and groups[-2][0] + groups[-2][1] * step > groups[-1][0]:
            low, more = groups[-2], groups.pop()
            count = low[1] + more[1]
            middle = (
                low[1] * (low[0] + (low[1] - 1) * step / 2)
                + more[1] * (more[0] + (more[1] - 1) * step / 2)
            ) / count
            groups[-1] = [middle - (count - 1) * step / 2, count]
    return [low + i * step for low, count in groups for i in range(int(count))]
