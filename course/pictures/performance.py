"""Pictures of notebook 06: what is moved, what waits for what, and how near the roof a kernel is.

Every function returns a matplotlib figure.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    TEAL,
    arrow,
    box,
    canvas,
    chart,
    done,
    fit,
    label,
)

_PALE = "#d8dde2"

# plain attention is red wherever it appears, FlashAttention's tiles are blue
_TILED = ("#8fb8d6", BLUE, "#173a57")
_OF = {
    "naive": RED,
    "flash_triton": BLUE,
    "sdpa_flash": AMBER,
    "sdpa_cudnn": GREEN,
    "expert": PURPLE,
}


def moved(tiles: int = 4) -> Figure:
    """What plain attention moves, and what the programs of FlashAttention move."""
    figure, (left, right) = canvas(3.0, columns=2)
    for n, (name, colour) in enumerate((("S", AMBER), ("P", RED))):
        x = 2.1 + 5.2 * n
        box(left, x, 0, name, colour, width=4, height=4, size=13)
        arrow(left, (x + 1.0, 4.1), (x + 1.0, 5.5), INK)
        arrow(left, (x + 3.0, 5.5), (x + 3.0, 4.1), INK)
        label(left, x + 0.8, 5.9, "write", size=8.5)
        label(left, x + 3.0, 5.9, "read", size=8.5)
    for n, name in enumerate("QKV"):
        box(left, 0.55 * n, 0, name, BLUE, width=0.45, height=4, size=8)
    box(left, 11.7, 0, "O", GREEN, width=0.45, height=4, size=8)
    label(left, 6.2, -0.8, "plain: the matrices go out and come back", weight="bold")
    for i in range(tiles):
        colour = PROGRAMS[i]
        box(right, 0, i, "Q", colour, width=0.8)
        box(right, 1.4, i, "K, V: all of them", colour, width=6.6)
        box(right, 8.6, i, "O", colour, width=0.8)
        label(right, 9.7, i + 0.5, f"program {i}", GREY, ha="left", size=8.5)
    label(right, 4.7, -0.8, "tiled: K and V come in once a tile of queries", weight="bold")
    label(right, 4.7, tiles + 0.9, "half as many tiles, half as many reads", GREY)
    for ax in (left, right):
        ax.set_xlim(-0.3, 12.6)
        ax.set_ylim(6.4, -1.5)
    return done(figure)


def io(lengths: Sequence[int], counted: Mapping[str, Sequence[float]]) -> Figure:
    """Bytes moved (MiB) against sequence length, one line a way of doing it."""
    figure, (ax,) = chart(3.3, width=6.8)
    for (name, values), colour in zip(counted.items(), (RED, *_TILED, GREY), strict=False):
        style = "--" if "once" in name else "o-"
        ax.plot(lengths, np.array(values) / 2**20, style, color=colour, label=name)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=10)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("sequence length N")
    ax.set_title("MiB moved for one head, counted", loc="left")
    ax.legend(frameon=False, fontsize=9)
    return done(figure)


def grid_2d(queries: int = 4, features: int = 2) -> Figure:
    """The tiled rung's grid: a program owns a tile of queries and a tile of output features."""
    figure, (ax,) = canvas(3.3)
    here, chosen = 1, 1
    for i in range(queries):
        box(ax, 0, i, "Q" if i == here else "", PURPLE if i == here else FAINT, width=2.4)
        for f in range(features):
            mine = (i, f) == (here, chosen)
            face = PURPLE if mine else FAINT
            box(ax, 9.6 + 1.2 * f, i, f"({i}, {f})", face, width=1.2, size=8.5)
    for n, name in enumerate(("K", "V")):
        for f in range(features):
            face = AMBER if name == "K" or f == chosen else FAINT
            x = 3.2 + 3.0 * n + 1.2 * f
            box(ax, x, 0, "", face, width=1.2, height=queries, edge="white")
    label(ax, 1.2, -0.5, "Q: all of d")
    label(ax, 4.4, -0.5, "K: all of d")
    label(ax, 7.4, -0.5, "V: its features")
    label(ax, 10.8, -0.5, "O: programs (i, f)")
    arrow(ax, (8.75, here + 0.5), (9.5, here + 0.5), INK)
    label(ax, 6.0, queries + 0.6, f"what program ({here}, {chosen}) reads and writes", GREY)
    words = (
        f"Programs ({here}, 0) and ({here}, 1)\nread the same Q and K\nand compute the\nsame scores"
    )
    label(ax, 12.4, 2.0, words, GREY, ha="left", size=8.5)
    ax.set_xlim(-0.3, 16.2)
    ax.set_ylim(queries + 1.1, -1.1)
    return done(figure)


def roofline(
    points: pd.DataFrame, tflops: float, tb_per_s: float, source: str, title: str
) -> Figure:
    """Measured dots under two roofs.

    Args:
        points: columns name, intensity (flops for each byte) and tflops.
        tflops, tb_per_s: the roofs.
        source: where the numbers come from, in words.
        title: what the chart shows.
    """
    figure, (ax,) = chart(3.8, width=7.4)
    x = np.logspace(-0.6, 4.3, 300)
    ax.plot(x, np.minimum(tflops, x * tb_per_s), color=INK, lw=1.8)
    ax.text(x[-1], tflops * 1.12, f"{tflops:,.0f} TFLOP/s", ha="right", fontsize=9, color=INK)
    ax.text(1.0, tb_per_s * 1.7, f"{tb_per_s:.2f} TB/s", rotation=31, fontsize=9, color=INK)
    ax.axvline(tflops / tb_per_s, color=GREY, lw=1, ls=":")
    ax.text(tflops / tb_per_s * 0.93, 0.42, "ridge", color=GREY, ha="right", fontsize=8.5)
    for name, one in points.groupby("name", sort=False):
        colour = _OF.get(str(name), TEAL)
        ax.plot(one["intensity"], one["tflops"], "o-", ms=5.5, lw=1, color=colour, label=name)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(0.3, tflops * 2.6)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_ylabel("TFLOP/s")
    ax.set_xlabel("flops for each byte that must move")
    ax.set_title(title, loc="left", fontsize=11)
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    figure.supxlabel(source, x=0.99, ha="right", fontsize=7, color="0.4")
    return done(figure)


def mistakes(frame: pd.DataFrame, truth: float, source: str = "") -> Figure:
    """What each way of timing says (columns ``what`` and ``ms``), beside the truth."""
    figure, (ax,) = chart(0.42 * len(frame) + 1.1, width=7.4)
    at = range(len(frame))
    right = [0.9 <= ms / truth <= 1.1 for ms in frame["ms"]]
    ax.barh(at, frame["ms"], color=[GREEN if good else RED for good in right], height=0.6)
    for y, ms in zip(at, frame["ms"], strict=True):
        ax.text(ms * 1.08, y, f"{ms:.3g} ms", va="center", fontsize=9, color=INK)
    ax.axvline(truth, color=INK, lw=1.2, ls="--")
    ax.set_yticks(at, frame["what"], fontsize=9)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlim(right=frame["ms"].max() * 4)
    ax.grid(visible=False)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("ms reported; dashed: what one pass takes")
    ax.set_title("one kernel, timed in one right way and several wrong ones", loc="left")
    if source:
        figure.supxlabel(source, x=0.99, ha="right", fontsize=7, color="0.4")
    return done(figure)


def diagonal(keys: int = 12, block: int = 2, start: int = 4, end_of_keys: int = 23) -> Figure:
    """The score matrix of one program: what it visits without a mask, with one, and not at all.

    Args:
        keys: tiles of keys drawn.
        block: tiles of keys that are as wide as the tile of queries is high.
        start: the first tile of keys that the diagonal crosses.
        end_of_keys: seq_k, in half tiles.
    """
    figure, (ax,) = canvas(2.6)
    for n in range(keys):
        inside = start <= n < start + block
        face, ink = (BLUE, "white") if n < start else (AMBER, "white") if inside else (FAINT, GREY)
        text = "no\nmask" if n < start else "mask" if inside else ""
        box(ax, n, 0, text, face, ink, height=block, size=7.5)
    ax.plot((start, start + block), (0, block), color=INK, lw=1.6)
    ax.plot((end_of_keys / 2,) * 2, (-0.2, block + 0.2), color=RED, lw=1.4, ls="--")
    label(ax, end_of_keys / 2, block + 0.6, "seq_k", RED, size=8.5)
    label(ax, -0.2, block / 2, "start_q to\nstart_q + BLOCK_Q", GREY, ha="right", size=8.5)
    for x, text in ((0, "0"), (start, "unmasked"), (start + block, "end")):
        arrow(ax, (x, -0.75), (x, -0.1), INK)
        label(ax, x, -1.0, text, size=8.5)
    label(ax, (start + block + keys) / 2, block / 2, "never visited", GREY, size=8.5)
    words = "causal; without it, end is seq_k, and only the last tile of keys needs a mask"
    label(ax, keys / 2, block + 1.4, words, GREY, size=8.5)
    ax.set_xlim(-3.0, keys + 0.3)
    ax.set_ylim(block + 1.8, -1.5)
    return done(figure)


def schedules(shares: Mapping[str, Sequence[float]], lengths: Sequence[int]) -> Figure:
    """Which share of the machine is busy, against sequence length, one line an order of tiles."""
    figure, (ax,) = chart(2.9, width=6.6)
    for (name, values), colour in zip(shares.items(), (GREEN, BLUE, AMBER, RED), strict=False):
        ax.plot(lengths, [100 * v for v in values], "o-", color=colour, label=name)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_ylim(0, 105)
    ax.set_xlabel("sequence length")
    ax.set_title("per cent of the workers' time spent working, simulated", loc="left")
    ax.legend(frameon=False, fontsize=8.5)
    return done(figure)


def budget(head_dims: Sequence[int] = (32, 64, 128, 256)) -> Figure:
    """Clocks that one score costs one Hopper multiprocessor: tensor cores, and exponentials."""
    figure, (ax,) = chart(2.9, width=6.6)
    at = np.arange(len(head_dims))
    products = [4 * d / 4096 for d in head_dims]
    ax.bar(at - 0.19, products, 0.36, color=BLUE, label="two products, 4 d flops at 4096 a clock")
    ax.bar(at + 0.19, [1 / 16] * len(at), 0.36, color=AMBER, label="one exponential, at 16 a clock")
    ax.set_xticks(at, [f"d = {d}" for d in head_dims])
    ax.set_title("clocks a score, on one multiprocessor (data sheet)", loc="left")
    ax.legend(frameon=False)
    return done(figure)


def tma() -> Figure:
    """A tile through pointers, and through a descriptor."""
    figure, (left, right) = canvas(3.5, columns=2)
    for i in range(8):
        box(left, 0, 0.75 * i, f"thread {16 * i}..", PROGRAMS[i % 4], width=3, height=0.7, size=7.5)
        arrow(left, (3.1, 0.75 * i + 0.35), (6.3, 0.75 * i + 0.35), GREY)
        box(left, 6.4, 0.75 * i, "", _PALE, width=3.4, height=0.7)
    label(left, 4.7, -0.8, "pointers", weight="bold")
    label(left, 4.9, 6.6, "everybody: addresses, masks, registers", GREY, size=8.5)
    box(right, 0, 0, "thread 0", PROGRAMS[0], width=2.4, height=0.7, size=7.5)
    for i in range(1, 8):
        box(right, 0, 0.75 * i, "free", FAINT, width=2.4, height=0.7, size=7.5)
    box(right, 3.9, 0, "TMA", GREEN, width=2.0, height=1.2)
    arrow(right, (2.5, 0.35), (3.8, 0.5), INK)
    box(right, 7.2, 0, "the tile", _PALE, width=3.4, height=5.95, ink=INK)
    arrow(right, (6.0, 0.6), (7.1, 1.6), INK)
    label(right, 4.9, 2.6, "descriptor:\nbase, shape,\nstrides, block", GREY, size=8)
    label(right, 5.2, -0.8, "descriptor", weight="bold")
    label(right, 5.4, 6.6, "one instruction; edges are the engine's business", GREY, size=8.5)
    for ax in (left, right):
        fit(ax, 10.7, 6.9)
        ax.set_ylim(7.1, -1.4)
    return done(figure)


def ping_pong(rounds: int = 2) -> Figure:
    """Two groups of warps on one multiprocessor: at the same time, and in turns.

    Both wanting the same unit get half of it each, and so take twice as long.
    """
    figure, (together, turns) = chart(2.0, columns=2, width=9.0)
    units = ((BLUE, "products"), (AMBER, "exp"))
    for group in range(2):
        for n in range(rounds):
            for at, (colour, text) in enumerate(units):
                _span(together, 2 - group, 8 * n + 4 * at, 4, colour, text)
                _span(turns, 2 - group, 4 * n + 2 * (group + at), 2, colour, text)
    together.set_title("at the same time: sharing a unit, each takes twice as long", fontsize=9.5)
    turns.set_title("ping-pong: one multiplies, one exponentiates", fontsize=9.5)
    for ax in (together, turns):
        ax.set_yticks((2, 1), ("warpgroup 1", "warpgroup 2"), fontsize=8.5)
        ax.set_xticks([])
        ax.set_xlabel("time")
        ax.grid(visible=False)
        ax.set_xlim(0, 8 * rounds + 0.5)
    return done(figure)


def _span(ax: Axes, y: int, begin: float, length: float, colour: str, text: str) -> None:
    ax.barh(y, length, left=begin, color=colour, edgecolor="white", height=0.7)
    ax.text(begin + length / 2, y, text, color="white", ha="center", va="center", fontsize=6.2)
