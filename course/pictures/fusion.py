"""Pictures of notebook 02: what fusing two kernels saves, and how one pass is possible."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from course.bench.measured import load
from course.bench.plots import memory_chart, time_chart
from course.pictures.style import (
    AMBER,
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    PROGRAMS,
    PURPLE,
    RED,
    arrow,
    box,
    canvas,
    chart,
    done,
    fit,
    label,
)

MIB = 2**20


def two_kernels_or_one() -> Figure:
    """Memory above, chip below: what travels between them with two kernels and with one."""
    figure, (two, one) = canvas(2.9, columns=2)
    for ax, title in ((two, "two kernels"), (one, "one kernel")):
        box(ax, 0, 0.5, "", FAINT, width=10, height=1.6)
        label(ax, 0, 0.1, "memory", GREY, ha="left", size=8.5)
        label(ax, 0, 6.0, "chip", GREY, ha="left", size=8.5)
        label(ax, 5, -0.5, title, weight="bold")
        fit(ax, 10, 6.2)
    for x, name, face in (
        (0.4, "x", BLUE),
        (3.0, "P", RED),
        (5.4, "V", BLUE),
        (7.8, "result", GREEN),
    ):
        box(two, x, 0.8, name, face, width=1.8, height=1.0)
    box(two, 0.9, 4.3, "softmax", "white", width=2.8, height=1.2, edge=INK)
    box(two, 5.3, 4.3, "matmul", "white", width=2.8, height=1.2, edge=INK)
    arrow(two, (1.3, 1.9), (1.8, 4.2), BLUE)
    arrow(two, (2.9, 4.2), (3.6, 1.9), RED)
    arrow(two, (4.2, 1.9), (5.8, 4.2), RED)
    arrow(two, (6.3, 1.9), (6.6, 4.2), BLUE)
    arrow(two, (7.4, 4.2), (8.6, 1.9), GREEN)
    label(two, 1.75, 2.6, "write P", RED, ha="left", size=8.5)
    label(two, 4.5, 3.3, "read P", RED, ha="right", size=8.5)
    for x, name, face in ((0.4, "x", BLUE), (4.1, "V", BLUE), (7.8, "result", GREEN)):
        box(one, x, 0.8, name, face, width=1.8, height=1.0)
    box(one, 2.2, 4.3, "softmax and matmul", "white", width=5.6, height=1.2, edge=INK)
    arrow(one, (1.3, 1.9), (3.2, 4.2), BLUE)
    arrow(one, (5.0, 1.9), (5.0, 4.2), BLUE)
    arrow(one, (6.8, 4.2), (8.6, 1.9), GREEN)
    return done(figure)


def outer_products() -> Figure:
    """A product as the sum of column times row."""
    figure, (ax,) = canvas(2.2)
    colours = PROGRAMS[:4]

    def term(x: float, columns: Sequence[int]) -> float:
        for j in columns:
            box(ax, x + 0.6 * (j - columns[0]), 1, "", colours[j], width=0.6, height=3)
        x += 0.6 * len(columns) + 0.35
        for j in columns:
            box(ax, x, 1 + 0.6 * (j - columns[0]), "", colours[j], width=2, height=0.6)
        return x + 2

    end = term(0, range(4))
    label(ax, 1.2, 0.5, "P")
    label(ax, 3.75, 0.5, "V")
    label(ax, end + 0.5, 2.5, "=", size=14)
    x = end + 1.0
    for j in range(4):
        stop = term(x, [j])
        if j < 3:
            label(ax, stop + 0.35, 2.5, "+", size=13)
        label(ax, x, 4.5, f"column {j} × row {j}", colours[j], ha="left", size=8.5)
        x = stop + 0.8
    fit(ax, x - 0.6, 4.8)
    return done(figure)


def rescaling() -> Figure:
    """One row, four blocks: the running sum with and without the correction."""
    x = np.array([1.0, 0.2, 0.6, 1.6, 0.9, 1.3, 2.6, 1.1, 0.4, 1.8, 1.2, 0.7])
    blocks = x.reshape(4, 3)
    top = np.maximum.accumulate(blocks.max(1))
    own = np.exp(blocks - top[:, None]).sum(1)
    corrected, forgotten, exact = [own[0]], [own[0]], []
    for b in range(1, 4):
        corrected.append(corrected[-1] * np.exp(top[b - 1] - top[b]) + own[b])
        forgotten.append(forgotten[-1] + own[b])
    for b in range(4):
        exact.append(np.exp(blocks[: b + 1] - top[b]).sum())
    figure, (left, right) = chart(2.6, columns=2)
    left.bar(range(12), x, color=np.repeat(PROGRAMS[:4], 3), width=0.8)
    left.step([*np.arange(4) * 3 - 0.5, 11.5], [*top, top[-1]], where="post", color=INK, lw=1.6)
    left.set_title("a row of x in four blocks; line: m so far", loc="left")
    left.set_xticks([1, 4, 7, 10], [f"block {b}" for b in range(4)])
    right.plot(range(4), forgotten, "s--", color=RED, label="old sum left as it was")
    right.plot(range(4), corrected, "o-", color=BLUE, label=r"old sum times $e^{m-m'}$")
    right.plot(range(4), exact, "x", color=INK, ms=9, label="exact")
    right.set_title("l after each block", loc="left")
    right.set_xticks(range(4), [f"block {b}" for b in range(4)])
    right.set_ylim(bottom=0)
    right.legend(frameon=False)
    return done(figure)


def tiles() -> Figure:
    """The rows of one program, and the tiles of x and V that its third step loads."""
    figure, (ax,) = canvas(3.3)
    for r in range(4):
        for c in range(6):
            mine = r == 1
            seen = mine and c < 2
            face = AMBER if mine and c == 2 else "#f3e2c2" if seen else FAINT
            box(ax, 1.1 * c, 1 + 1.1 * r, "", face, width=1.1, height=1.1)
    label(ax, 3.3, 0.55, "x  (d1 × d2)")
    label(ax, -0.2, 2.65, "program 1", AMBER, ha="right")
    arrow(ax, (3.35, 2.65), (6.5, 2.65), INK)
    for r in range(6):
        box(
            ax,
            8.2,
            0.4 + 0.95 * r,
            "",
            BLUE if r == 2 else "#cfdfeb" if r < 2 else FAINT,
            None,
            2.2,
            0.95,
        )
    label(ax, 9.3, -0.05, "V  (d2 × d3)")
    arrow(ax, (9.3, 3.3), (9.3, 6.0), INK)
    box(ax, 11.9, 2.1, "acc", GREEN, width=2.2, height=1.1)
    box(ax, 14.4, 2.1, "m", PURPLE, width=0.7, height=1.1)
    box(ax, 15.3, 2.1, "l", PURPLE, width=0.7, height=1.1)
    label(ax, 14.0, 1.6, "stays on the chip", size=8.5, colour=GREY)
    label(ax, 14.0, 3.75, "acc ← α acc + P V", size=9.5)
    label(ax, 13.0, 5.2, "after the last step: acc / l", GREEN, size=9.5)
    label(ax, 4.9, 5.85, "dark: loaded now; pale: done and forgotten", GREY, size=8.5)
    fit(ax, 16.3, 6.2, margin=0.1)
    ax.set_xlim(-2.2, 16.5)
    ax.set_ylim(6.3, -0.4)
    return done(figure)


def tile_traffic(blocks: Sequence[int], tiled: Sequence[int], unfused: int, ideal: int) -> Figure:
    """Bytes (MiB) the tiled kernel asks for against its rows a program, between two bounds."""
    figure, (ax,) = chart(2.8, width=6.4)
    ax.plot(range(len(blocks)), np.array(tiled) / MIB, "o-", color=BLUE, label="fused, in tiles")
    ax.axhline(unfused / MIB, color=RED, ls="--", label="two kernels")
    ax.axhline(ideal / MIB, color=GREEN, ls="--", label="one kernel, each input once")
    ax.set_xticks(range(len(blocks)), [str(b) for b in blocks])
    ax.set_xlabel("BLOCK_1, rows a program")
    ax.set_title("MiB read and written, counted, without caches", loc="left")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    return done(figure)


def peak_memory(
    widths: Sequence[int], measured: dict[str, list[int]], d1: int, d3: int, where: str
) -> Figure:
    """Bytes allocated at the peak (KiB), measured here, against the width of x."""
    figure, (ax,) = chart(2.8, width=6.4)
    for (name, values), colour in zip(measured.items(), (RED, BLUE), strict=True):
        ax.plot(widths, np.array(values) / 1024, "o-", color=colour, label=name)
    ax.set_xticks(widths, [str(w) for w in widths])
    ax.set_xlabel("d2")
    ax.set_ylim(bottom=0)
    ax.set_title(
        f"KiB allocated at the peak, d1 {d1}, d3 {d3}, measured here ({where})", loc="left"
    )
    ax.legend(frameon=False)
    return done(figure)


def measured_on_gpu(column: str) -> Figure | None:
    """The committed benchmark of softmax-matmul: "forward_ms_mean" or "forward_peak_MiB".

    Says so in one line, and returns None, where nothing has been measured yet.
    """
    try:
        frame, source = load("softmax_matmul")
    except FileNotFoundError:
        print("No measurements are committed yet; the chart appears here once they are.")
        return None
    # the rest is an instructor's, and fast for other reasons
    frame = frame[~frame["triton"].astype(bool) | frame["BLOCK"].notna()]
    names = ["PyTorch" if not t else f"fused, BLOCK {b:.0f}" for t, b in _configurations(frame)]
    draw = time_chart if column.endswith("ms_mean") else memory_chart
    return draw(frame.assign(kernel=names), "d2", column, "kernel", "softmax(x) @ V", source)


def _configurations(frame: pd.DataFrame) -> list[tuple[bool, float]]:
    return list(zip(frame["triton"].astype(bool), frame["BLOCK"], strict=True))
