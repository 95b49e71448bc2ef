"""Pictures for notebooks 04 and 05: tiles over the score matrix, and who computes which of them.

Every function returns a matplotlib figure.
"""

import math
from collections.abc import Callable, Iterable

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course.bench.measured import load
from course.bench.plots import time_chart
from course.pictures.style import (
    AMBER,
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    PROGRAMS,
    RED,
    arrow,
    box,
    canvas,
    chart,
    done,
    fit,
    label,
)

_SKIPPED = "#f4f6f8"


def to_scale(seq: int, d: int) -> Figure:
    """Q, K, V, O and S as areas of their true proportions."""
    figure, (ax,) = canvas(3.4)
    side, thin = 10.0, 10.0 * d / seq
    for i, name in enumerate("QKV"):
        box(ax, 1.4 * i, 0, face=BLUE, width=thin, height=side, edge=BLUE)
        label(ax, 1.4 * i + thin / 2, side + 0.7, name)
    box(ax, 5, 0, face=AMBER, width=side, height=side, edge=AMBER)
    label(ax, 5 + side / 2, side / 2, f"S, and P of the same size\n{seq:,} × {seq:,}", "white")
    box(ax, 17, 0, face=GREEN, width=thin, height=side, edge=GREEN)
    label(ax, 17 + thin / 2, side + 0.7, "O")
    label(ax, 18.6, 4.4, f"each strip: {seq:,} × {d}", GREY, ha="left")
    label(ax, 18.6, 5.6, f"S is {seq // d} strips wide", GREY, ha="left")
    fit(ax, 24, side + 1.2)
    return done(figure)


def tiles_walk(rows: int = 3, columns: int = 4) -> Figure:
    """A film in six frames: which tile of S exists, which are done, what is kept of them."""
    figure, axes = canvas(2.6, columns=6, width=11.0)
    moments = [0, 1, columns - 1, columns, columns + 1, rows * columns - 1]
    for ax, moment in zip(axes, moments, strict=True):
        here = divmod(moment, columns)
        for i in range(rows):
            now = i == here[0]
            box(ax, -1.2, i, "Q" if now else "", AMBER if now else FAINT, width=0.8)
            for j in range(columns):
                past = i * columns + j < moment
                face = AMBER if (i, j) == here else BLUE if past else FAINT
                box(ax, j, i, face=face)
            kept = "m l\nacc" if now else "O L" if i < here[0] else ""
            box(ax, columns + 0.4, i, kept, GREEN if kept else FAINT, width=1.3, size=7)
        for j in range(columns):
            now = j == here[1]
            box(ax, j, -1.2, "K V" if now else "", AMBER if now else FAINT, height=0.8, size=7)
        label(ax, columns / 2, rows + 0.6, f"tile ({here[0]}, {here[1]})", GREY, size=8.5)
        ax.set_xlim(-1.4, columns + 1.9)
        ax.set_ylim(rows + 1, -1.4)
    return done(figure)


def causal_tiles(seq: int, BLOCK_Q: int, BLOCK_K: int) -> Figure:
    """The score matrix cut into tiles: full, diagonal or skipped, and how many of each."""
    figure, (ax,) = canvas(3.6)
    rows, columns = seq // BLOCK_Q, seq // BLOCK_K
    width, height = 8 / columns, 8 / rows
    counts = {BLUE: 0, AMBER: 0, _SKIPPED: 0}
    for i in range(rows):
        for j in range(columns):
            face = _causal_face(i * BLOCK_Q, BLOCK_Q, j * BLOCK_K, BLOCK_K)
            counts[face] += 1
            box(ax, j * width, i * height, face=face, width=width, height=height)
    ax.plot([0, 8], [0, 8], color=INK, lw=1)
    label(ax, 4, -0.5, "keys →", GREY)
    label(ax, -0.9, 4, "queries ↓", GREY)
    names = ("full: no comparison", "diagonal: key <= query", "skipped: never loaded")
    for line, (face, name) in enumerate(zip(counts, names, strict=True)):
        edge, ink = (GREY, INK) if face == _SKIPPED else (face, "white")
        box(ax, 9, 2 + 1.3 * line, str(counts[face]), face, ink, edge=edge)
        label(ax, 10.4, 2.5 + 1.3 * line, name, ha="left")
    ax.set_xlim(-2, 16)
    ax.set_ylim(8.3, -1)
    return done(figure)


def _causal_face(q_start: int, BLOCK_Q: int, k_start: int, BLOCK_K: int) -> str:
    if k_start + BLOCK_K - 1 <= q_start:
        return BLUE
    return AMBER if k_start <= q_start + BLOCK_Q - 1 else _SKIPPED


def log_sum_exp(row: torch.Tensor) -> Figure:
    """A row of scores with its L, and the probabilities that the distances below L give."""
    L = torch.logsumexp(row, 0).item()
    figure, (left, right) = chart(2.7, columns=2)
    at = range(len(row))
    left.bar(at, row, color=BLUE)
    left.axhline(L, color=AMBER, lw=2)
    left.text(len(row) - 0.5, L + 0.1, f"L = {L:.2f}", color=AMBER, ha="right", va="bottom")
    left.set_ylim(top=L + 0.9)
    left.set_title("scores of one query, and their log-sum-exp")
    bars = right.bar(at, torch.exp(row - L), color=GREEN)
    right.bar_label(bars, fmt="%.2f", fontsize=8.5, color=INK)
    right.margins(y=0.12)
    right.set_title("exp(score - L): they add up to 1")
    for ax in (left, right):
        ax.set_xlabel("key")
    return done(figure)


def backward_owners(tiles: int = 5) -> Figure:
    """Who adds up what: a column of tiles for dK and dV, a row of tiles for dQ."""
    figure, axes = canvas(3.3, columns=2)
    titles = ("dK, dV: one program a column", "dQ: one program a row")
    for ax, title, by_column in zip(axes, titles, (True, False), strict=True):
        for i in range(tiles):
            for j in range(tiles):
                owner = PROGRAMS[j if by_column else i]
                box(ax, j, i, face=owner if j <= i else _SKIPPED)
        for n in range(tiles):
            if by_column:
                arrow(ax, (n + 0.5, n + 0.2), (n + 0.5, tiles + 0.35), INK)
                box(ax, n, tiles + 0.4, "dK dV", PROGRAMS[n], height=0.7, size=7.5)
            else:
                arrow(ax, (0.2, n + 0.5), (tiles + 0.35, n + 0.5), INK)
                box(ax, tiles + 0.4, n, "dQ", PROGRAMS[n], width=0.9, size=8)
        label(ax, tiles / 2, -0.5, title)
        fit(ax, tiles + 1.4, tiles + 1.2, margin=0.9)
    return done(figure)


def grid(batch: int = 2, tiles: int = 4) -> Figure:
    """The grid of the forward kernel: a program for each tile of queries of each batch element."""
    figure, axes = canvas(2.7, columns=batch)
    for b, ax in enumerate(axes):
        for i in range(tiles):
            colour = PROGRAMS[i]
            box(ax, 0, i, "Q", colour, width=0.9)
            for j in range(tiles):
                box(ax, 1.3 + j, i, face=FAINT)
            arrow(ax, (1.4, i + 0.5), (1.2 + tiles, i + 0.5), colour)
            box(ax, 1.7 + tiles, i, "O L", colour, width=0.9, size=8)
            label(ax, 3.1 + tiles, i + 0.5, f"program ({i}, {b})", GREY, ha="left", size=8.5)
        label(ax, 1.3 + tiles / 2, -0.5, f"batch element {b}: K, V tiles →")
        ax.set_xlim(-0.3, tiles + 6)
        ax.set_ylim(tiles + 0.3, -1)
    return done(figure)


def batch_edges(seq: int = 5, BLOCK: int = 4) -> Figure:
    """Two batch elements: a 2-D tile runs over the edge, a (1, BLOCK, d) tile does not."""
    figure, axes = canvas(4.2, columns=2)
    titles = ("rows of one long matrix:\na tile runs into the next element",
              "blocks of (1, BLOCK, d):\nthe edge is known, the rest reads 0")  # fmt: skip
    for ax, title, safe in zip(axes, titles, (False, True), strict=True):
        start = BLOCK
        inside = seq - start
        gap = BLOCK - inside if safe else 0
        for b in range(2):
            for i in range(seq):
                y = b * (seq + gap) + i
                box(ax, 0, y, f"[{b}, {i}]", BLUE if b == 0 else GREEN, width=3, size=8)
        box(ax, 3.4, start, face="none", edge=AMBER, width=0.5, height=inside)
        if safe:
            box(ax, 3.4, seq, face="none", edge=GREY, width=0.5, height=gap, dashed=True)
            label(ax, 4.2, seq + gap / 2, f"{BLOCK - inside} rows of 0", GREY, ha="left")
        else:
            box(ax, 3.4, seq, face="none", edge=RED, width=0.5, height=BLOCK - inside)
            label(ax, 4.2, seq + 1.5, "somebody else's rows", RED, ha="left")
        label(ax, 4.2, start + inside / 2, "the tile", AMBER, ha="left")
        label(ax, 3, -1, title)
        ax.set_xlim(-0.5, 9)
        ax.set_ylim(2 * seq + BLOCK, -2)
    return done(figure)


def schedule(tiles: int = 12, workers: int = 4) -> Figure:
    """When each worker is busy, if the query tiles start lightest first or heaviest first.

    The time of a tile is taken as the number of key tiles it visits; a worker that is free takes
    the next one.
    """
    figure, axes = chart(2.6, columns=2)
    orders: dict[str, Callable] = {"lightest first": list, "heaviest first": reversed}
    for ax, (name, order) in zip(axes, orders.items(), strict=True):
        end = _work(ax, order(range(1, tiles + 1)), workers)
        ax.axvline(end, color=RED, lw=1.5)
        ax.set_title(f"{name}: done after {end}")
        ax.set_xlim(0, math.ceil(tiles * (tiles + 1) / 2 / workers * 1.35))
        ax.set_yticks(range(workers), [f"SM {w}" for w in range(workers)])
        ax.set_xlabel("key tiles visited")
        ax.grid(visible=False)
    return done(figure)


def _work(ax: Axes, weights: Iterable[int], workers: int) -> int:
    free = [0] * workers
    for weight in weights:
        worker = free.index(min(free))
        ax.barh(worker, weight, left=free[worker], color=BLUE, edgecolor="white")
        ax.text(
            free[worker] + weight / 2, worker, str(weight), color="white", ha="center", va="center"
        )
        free[worker] += weight
    return max(free)


def measured_attention(name: str, column: str, title: str) -> Figure | None:
    """A committed measurement of attention ("attention" or "attention_peers") against length.

    Of the peers only causal bf16 with d = 64 is shown. Says so in one line, and returns None, where
    nothing has been measured yet.
    """
    try:
        frame, source = load(name)
    except FileNotFoundError:
        print("No measurements are committed yet; the chart appears here once they are.")
        return None
    if name == "attention_peers":
        half = frame["dtype"].isin(("bf16", "bfloat16"))
        frame = frame[half & frame["is_causal"].astype(bool) & (frame["head_dim"] == 64)]
    return time_chart(frame, "seq_len", column, "implementation", title, source)
