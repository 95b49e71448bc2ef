"""Pictures of notebook 03: what each rung holds, reads and reaches."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from course.bench.canvas import canvas as bench_canvas
from course.bench.canvas import finish, label_ends, style_of
from course.bench.measured import load
from course.bench.plots import fitted_power, memory_chart, speedup_chart, time_chart
from course.pictures.style import (
    FAINT,
    GREY,
    INK,
    PURPLE,
    arrow,
    box,
    canvas,
    chart,
    done,
    fit,
    label,
)

# NVIDIA H200 data sheet: bf16 and fp16 on tensor cores (dense), fp32, memory bandwidth.
TENSOR_TFLOPS, FP32_TFLOPS, TB_PER_S = 989, 67, 4.8
RUNGS = ("naive", "basic", "vectorized", "tiled")
FITTED_FROM = 2048  # below, a rung has not filled the GPU, and its time grows more slowly
# a rung has one colour, in drawings and in charts
_COLOURS = {rung: style_of(rung, 0).color for rung in RUNGS}
_SEEN = "#d8dde2"


def score_matrix() -> Figure:
    """Which scores exist at once, rung by rung, and where the rung goes from there."""
    n = 8
    panels = {
        "naive": [(i, j) for i in range(n) for j in range(n)],
        "basic": [(3, 4)],
        "vectorized": [(3, j) for j in range(n)],
        "notebook 04: a tile": [(i, j) for i in (2, 3) for j in (4, 5)],
    }
    past = {"basic": [(3, j) for j in range(4)], "notebook 04: a tile": _block(2, 0, 2, 4)}
    words = ("all of them, in memory", "one a program", "one row a program", "one tile a program")
    figure, axes = canvas(2.5, columns=4)
    for ax, (title, alive), caption in zip(axes, panels.items(), words, strict=True):
        colour = _COLOURS.get(title, _COLOURS["tiled"])
        for i in range(n):
            for j in range(n):
                box(ax, j, i, "", _pale(i, j, alive, past.get(title, []), colour))
        label(ax, n / 2, -1.4, title, colour, weight="bold")
        label(ax, n / 2, n + 0.9, caption, GREY, size=8.5)
        if title == "basic":
            arrow(ax, (5.1, 3.5), (8.0, 3.5), INK)
        if title.endswith("tile"):
            arrow(ax, (6.1, 3.0), (8.0, 3.0), INK)
        fit(ax, n, n)
        ax.set_xlim(-1.2, n + 0.2)
        ax.set_ylim(n + 1.4, -1.9)
        label(ax, n / 2, -0.35, "keys", GREY, size=8.5)
    label(axes[0], -0.8, n / 2, "queries", GREY, size=8.5)
    axes[0].texts[-1].set_rotation(90)
    return done(figure)


def _block(i: int, j: int, height: int, width: int) -> list[tuple[int, int]]:
    return [(i + a, j + b) for a in range(height) for b in range(width)]


def _pale(
    i: int, j: int, alive: Sequence[tuple[int, int]], past: Sequence[tuple[int, int]], colour: str
) -> str:
    if (i, j) in alive:
        return colour
    return _SEEN if (i, j) in past else FAINT


def one_query() -> Figure:
    """Basic and vectorized beside each other: how one program meets the keys."""
    figure, (basic, vectorized) = canvas(3.0, columns=2)
    for ax, title in ((basic, "basic"), (vectorized, "vectorized")):
        colour = _COLOURS[title]
        label(ax, 5, -0.6, title, colour, weight="bold")
        box(ax, 0, 2.5, "q", PURPLE, width=2.0, height=0.9)
        label(ax, 1.0, 4.0, "one query", GREY, size=8.5)
        for j in range(6):
            now = j == 2 if title == "basic" else True
            gone = title == "basic" and j < 2
            face = colour if now else _SEEN if gone else FAINT
            box(ax, 4.0, j, "", face, width=2.0, height=1.0)
        label(ax, 5.0, 6.5, "keys and values", GREY, size=8.5)
        fit(ax, 10.5, 7)
        ax.set_ylim(7, -1.1)
    arrow(basic, (2.1, 2.9), (3.9, 2.5), INK)
    arrow(basic, (6.4, 2.5), (6.4, 5.9), INK)
    label(
        basic,
        6.7,
        4.2,
        "then the next,\nand the next: \nm, l, acc carry\nwhat was seen",
        INK,
        ha="left",
    )
    for j in range(6):
        arrow(vectorized, (2.1, 2.9), (3.9, j + 0.5), INK)
    label(vectorized, 6.3, 3.0, "all scores at once:\none max, one sum", INK, ha="left")
    return done(figure)


def reach(head_dims: Sequence[int], keys: Sequence[int]) -> Figure:
    """The most keys that fit into one program, against the head dimension."""
    figure, (ax,) = chart(2.4, width=6.4)
    bars = ax.bar(range(len(keys)), keys, color=_COLOURS["vectorized"], width=0.6)
    ax.bar_label(bars, labels=[str(k) for k in keys], color=INK, fontsize=9)
    ax.set_xticks(range(len(keys)), [str(d) for d in head_dims])
    ax.set_xlabel("head dimension")
    ax.set_title("most keys the vectorized rung can take", loc="left")
    ax.margins(y=0.15)
    return done(figure)


def traffic(lengths: Sequence[int], counted: dict[str, list[int]]) -> Figure:
    """Bytes asked for (MiB) against sequence length; a line's name begins with a rung's."""
    figure, (ax,) = chart(2.8, width=6.4)
    for name, values in counted.items():
        rung = name.split(",")[0]  # "basic, vectorized" are one line
        ax.plot(lengths, np.array(values) / 2**20, "o-", color=_COLOURS[rung], label=name)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("sequence length")
    ax.set_title("MiB read and written, counted, without caches", loc="left")
    ax.legend(frameon=False)
    return done(figure)


def roofline(intensities: dict[str, float]) -> Figure:
    """Where rungs stand under the roofs of an H200, from their flops for each byte they ask for."""
    figure, (ax,) = chart(3.2, width=7.0)
    x = np.logspace(-0.7, 3.9, 200)
    for peak, words in ((TENSOR_TFLOPS, "tensor cores, fp16"), (FP32_TFLOPS, "without, fp32")):
        ax.plot(x, np.minimum(peak, x * TB_PER_S), color=INK, lw=1.6)
        ax.text(
            x[-1], peak * 1.08, f"{words}: {peak} TFLOP/s", ha="right", va="bottom", fontsize=8.5
        )
    colours = (_COLOURS["naive"], _COLOURS["basic"], _COLOURS["tiled"], PURPLE)
    for (name, value), colour in zip(intensities.items(), colours, strict=False):
        height = min(value * TB_PER_S, TENSOR_TFLOPS)
        ax.plot([value], [height], "o", color=colour, ms=8)
        ax.annotate(
            name,
            (value, height),
            (8, -4),
            textcoords="offset points",
            va="top",
            color=colour,
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(top=3000)
    ax.set_xlabel("flops for each byte")
    ax.set_title("TFLOP/s that memory can feed on an H200 (data sheet, not measured)", loc="left")
    return done(figure)


def measured_here(rows: Sequence[dict[str, object]]) -> Figure | None:
    """Times of ``attention_ladder.script.measure_rungs`` on this machine; None without any."""
    if not rows:
        print("Nothing was timed here, so there is nothing to draw.")
        return None
    table = pd.DataFrame(rows)
    return time_chart(
        table, "seq_len", "forward_ms", "rung", "on this GPU, one head, float32, d = 64"
    )


def measured_on_gpu(what: str) -> Figure | None:
    """The committed measurements of the rungs: "time", "speedup", "memory" or "scaling".

    Says so in one line, and returns None, where nothing has been measured yet.
    """
    try:
        frame, source = committed()
    except FileNotFoundError:
        print(f"No measurements are committed yet; the chart of {what} appears here once they are.")
        return None
    where = "one head, float32, d = 64"
    if what == "scaling":
        return _growth(frame, f"growth of the time, fitted to N ≥ {FITTED_FROM:,}; {where}", source)
    if what == "speedup":
        title = f"times as fast as naive; {where}"
        figure = speedup_chart(frame, "seq_len", "forward_ms", "rung", "naive", title, source)
    elif what == "memory":
        title = f"peak memory, inputs included; {where}"
        figure = memory_chart(frame, "seq_len", "forward_peak_MiB", "rung", title, source)
    else:
        figure = time_chart(frame, "seq_len", "forward_ms", "rung", f"time; {where}", source)
    figure.axes[0].set_xlabel("N, the sequence length")
    if what != "speedup":
        _lower(figure, "vectorized")
    return figure


def committed() -> tuple[pd.DataFrame, str]:
    """The rungs of this chapter, and the first of chapter 06, one head in float32.

    Raises:
        FileNotFoundError: nothing has been measured yet.
    """
    frame, source = load("attention_ladder")
    frame = frame[(frame["heads"] == 1) & (frame["dtype"] == "fp32")]
    return frame[frame["rung"].isin(RUNGS)], source


def numbers() -> pd.DataFrame | None:
    """naive's ms at each length, and how many times as long the other rungs take."""
    try:
        frame, _ = committed()
    except FileNotFoundError:
        print("No measurements are committed yet; their table appears here once they are.")
        return None
    wide = frame.pivot(index="seq_len", columns="rung", values="forward_ms").astype(float)
    table = pd.DataFrame({"naive, ms": wide["naive"].round(3)})
    for rung in RUNGS[1:]:
        ratio = wide[rung] / wide["naive"]
        table[f"{rung} / naive"] = [f"{r:.2f}" if r == r else "" for r in ratio]
    for rung in ("naive", "basic", "tiled"):
        table[f"{rung}, N / half N"] = [
            f"{r:.1f}" if r == r else "" for r in wide[rung] / wide[rung].shift()
        ]
    return table.rename_axis("N")


def _growth(frame: pd.DataFrame, title: str, source: str) -> Figure:
    """All points, and for each rung measured at long lengths the power that fits them there."""
    figure, ax = bench_canvas(title, source)
    ax.set_yscale("log")
    ends = []
    for rung, one in frame[frame["forward_ms"] > 0].groupby("rung", sort=False):
        x, y = one["seq_len"].astype(float), one["forward_ms"].astype(float)
        style, name, far = style_of(str(rung), 0), str(rung), x >= FITTED_FROM
        ax.plot(x, y, style.marker, color=style.color, markersize=4)
        if far.sum() > 2:
            power, factor = fitted_power(x[far], y[far])
            name = f"{rung}: N$^{{{power:.2f}}}$"
            ax.plot(x[far], factor * x[far] ** power, color=style.color, linewidth=1)
        ends.append((name, x.iloc[-1], y.iloc[-1], style))
    label_ends(ax, ends)
    _lower(figure, "vectorized")
    return finish(figure, ax, "N, the sequence length", "time (ms)")


def _lower(figure: Figure, name: str) -> None:
    """Move the label of a line that ends early, beside which others run, below its last point."""
    for text in figure.axes[0].texts:
        if isinstance(text, Annotation) and text.get_text() == name:
            x, y = text.xyann
            text.xyann = (x, y - 0.1)
