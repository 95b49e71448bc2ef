"""The drawings of the hand-outs and of the READMEs, as SVG that is the same at every run."""

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

from course.pictures.style import (
    AMBER,
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    arrow,
    box,
    canvas,
    done,
    fit,
    label,
)


def draw_all(root: Path) -> list[Path]:
    """Draw every figure under ``root`` and return the files written."""
    written = []
    # ids in an SVG are random, and letters depend on the viewer's fonts, unless told otherwise
    with matplotlib.rc_context({"svg.hashsalt": "course", "svg.fonttype": "path"}):
        for name, draw in FIGURES.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            draw().savefig(
                path,
                metadata={"Date": None},
                facecolor="white",
                bbox_inches="tight",
                pad_inches=0.1,
            )
            written.append(path)
    return written


def _page(width: float, height: float, inches: float) -> tuple[Figure, Axes]:
    """One drawing area of ``width`` x ``height`` units, ``inches`` wide."""
    figure, (ax,) = canvas(inches * height / width, width=inches)
    fit(ax, width, height, margin=0.1)
    return figure, ax


def _score_tiles(ax: Axes, x: float, y: float, tiles: int) -> None:
    """A causal score matrix in tiles: full below the diagonal, masked on it, unvisited above."""
    for i in range(tiles):
        for j in range(tiles):
            box(ax, x + j, y + i, face=BLUE if j < i else AMBER if j == i else FAINT)
        corner = [(x + i, y + i), (x + i + 1, y + i), (x + i + 1, y + i + 1)]
        ax.add_patch(Polygon(corner, facecolor="white", alpha=0.65, linewidth=0))


def _frame(ax: Axes, x: float, y: float, width: float, height: float) -> None:
    """What one program visits."""
    ax.add_patch(
        Rectangle((x, y), width, height, fill=False, edgecolor=GREEN, linewidth=2.6, zorder=5)
    )


def tiles() -> Figure:
    """Causal attention: which tiles of the score matrix a program visits, and how."""
    figure, ax = _page(14.2, 7.6, 7.0)
    left, top, n = 1.6, 1.4, 6
    _score_tiles(ax, left, top, n)
    for k in range(n):
        box(ax, left + k, top - 0.65, face=GREY, height=0.5)
        box(ax, left - 0.65, top + k, face=GREEN if k == 3 else GREY, width=0.5)
    label(ax, left + n / 2, top - 1.05, "key and value tiles")
    ax.text(left - 1.1, top + n / 2, "query tiles", ha="center", va="center", rotation=90)
    _frame(ax, left, top + 3, 4, 1)
    arrow(ax, (left + 0.2, top + 3.5), (left + 3.8, top + 3.5), "white")
    lines = [
        (BLUE, "full tile", "no index is compared"),
        (AMBER, "tile on the diagonal", "masked: key j is visible iff j ≤ i"),
        (FAINT, "tile beyond the diagonal", "never loaded, never computed"),
        (GREEN, "one program", "one query tile, from left to right"),
    ]
    for row, (colour, line, more) in enumerate(lines):
        y = top + 0.2 + 1.5 * row
        box(ax, left + n + 0.7, y, face=colour, width=0.6, height=0.6)
        label(ax, left + n + 1.6, y + 0.05, line, ha="left", weight="bold")
        label(ax, left + n + 1.6, y + 0.6, more, GREY, ha="left", size=8.5)
    return done(figure)


def fused_pass() -> Figure:
    """One program of the fused kernel: x and V in blocks, three running values, one division."""
    figure, ax = _page(15.4, 5.4, 7.0)
    for k in range(5):
        colour = BLUE if k < 2 else AMBER if k == 2 else FAINT
        box(ax, 0.2 + 1.1 * k, 2.1, face=colour, width=1.1, height=1.2)
        box(ax, 7.1, 0.8 + 0.85 * k, face=colour, width=2.4, height=0.85)
    label(ax, 2.95, 1.65, "x: BLOCK_1 rows, d2 columns")
    label(ax, 8.3, 0.3, "V: d2 rows, d3 columns")
    arrow(ax, (0.2, 3.65), (5.7, 3.65), INK)
    label(ax, 2.95, 4.1, "BLOCK_2 columns at a step", GREY, size=8.5)
    arrow(ax, (6.75, 0.8), (6.75, 5.0), INK)
    label(ax, 10.5, 0.75, "kept on the chip", GREY, ha="left", size=8.5)
    values = [
        ("m", "largest value so far"),
        ("l", "sum of exponentials"),
        ("acc", "weighted rows of V"),
    ]
    for row, (name, text) in enumerate(values):
        box(ax, 10.5, 1.15 + 0.9 * row, name, GREEN, width=1.0, height=0.7)
        label(ax, 11.7, 1.5 + 0.9 * row, text, ha="left", size=8.5)
    label(ax, 10.5, 4.25, "after the last step", GREY, ha="left", size=8.5)
    label(ax, 10.5, 4.8, "y = acc / l", ha="left", weight="bold")
    return done(figure)


def backward() -> Figure:
    """What each gradient of attention is made of."""
    figure, ax = _page(15.6, 5.4, 7.2)
    columns = [
        (0.0, 2.0, GREY, ("Q, K, L", "dO, V", "O")),
        (3.5, 3.7, BLUE, ("P = exp(S − L)", "dP = dO Vᵀ", "D = rowsum(O ∘ dO)")),
        (8.4, 3.0, BLUE, ("", "dS = P ∘ (dP − D)", "")),
        (12.6, 3.0, GREEN, ("dV = Pᵀ dO", "dQ = dS K / √d", "dK = dSᵀ Q / √d")),
    ]
    for x, width, colour, texts in columns:
        for row, text in enumerate(texts):
            if text:
                box(ax, x, 0.1 + 2.1 * row, text, colour, width=width, height=0.95, size=9)
    for start, end in [
        ((2.0, 0.57), (3.5, 0.57)),
        ((2.0, 2.67), (3.5, 2.67)),
        ((2.0, 4.77), (3.5, 4.77)),
        ((2.0, 2.9), (3.5, 4.5)),
        ((7.2, 2.67), (8.4, 2.67)),
        ((7.2, 0.8), (8.4, 2.35)),
        ((7.2, 4.55), (8.4, 3.0)),
        ((7.2, 0.57), (12.6, 0.57)),
        ((11.4, 2.67), (12.6, 2.67)),
        ((11.4, 2.9), (12.6, 4.5)),
    ]:
        arrow(ax, start, end, INK)
    return done(figure)


def two_kernels() -> Figure:
    """The backward as two kernels: one walks along rows of tiles, one down columns."""
    figure, ax = _page(15.0, 6.6, 6.6)
    for x, title, note in [
        (0.2, "dQ kernel", "one query tile: along its row"),
        (8.2, "dK/dV kernel", "one key tile: down its column"),
    ]:
        _score_tiles(ax, x, 0.8, 5)
        label(ax, x + 2.5, 0.35, title, weight="bold")
        label(ax, x + 2.5, 6.2, note, GREY, size=8.5)
    _frame(ax, 0.2, 3.8, 4, 1)
    arrow(ax, (0.4, 4.3), (4.0, 4.3), "white")
    box(ax, 5.4, 3.8, "dQ", GREEN)
    _frame(ax, 9.2, 1.8, 1, 4)
    arrow(ax, (9.7, 2.0), (9.7, 5.6), "white")
    box(ax, 13.4, 2.7, "dK", GREEN)
    box(ax, 13.4, 3.9, "dV", GREEN)
    return done(figure)


def road() -> Figure:
    """The course from left to right: the one new idea of each chapter."""
    figure, ax = _page(20.0, 4.3, 10.5)
    stops = [
        ("Triton\nbasics", "programs,\nmasks, strides", "notebook 00", GREY),
        ("online\nsoftmax", "one pass instead\nof three", "notebook 01", BLUE),
        ("softmax\n× matmul", "never store\nthe softmax", "02 · homework 1", BLUE),
        ("attention\nladder", "why a simple\nkernel is slow", "notebook 03", GREY),
        (
            "FlashAttention\nin PyTorch",
            "tiles, and every\ngradient by hand",
            "04 · homework 2",
            AMBER,
        ),
        ("FlashAttention-2\nin Triton", "kernels forward\nand backward", "05 · homework 3", GREEN),
        ("as fast as\nthe hardware", "count, time,\ntune, 8 bits", "notebook 06", GREY),
    ]
    for k, (title, idea, where, colour) in enumerate(stops):
        x = 2.88 * k
        ax.add_patch(
            FancyBboxPatch(
                (x + 0.1, 0.85),
                2.4,
                1.3,
                boxstyle="round,pad=0.05,rounding_size=0.15",
                facecolor=colour,
                edgecolor="none",
            )
        )
        label(ax, x + 1.3, 1.5, title, "white", size=8.2, weight="bold")
        label(ax, x + 1.3, 0.4, where, GREY, size=8.5)
        label(ax, x + 1.3, 2.75, idea, size=8.8)
        if k + 1 < len(stops):
            arrow(ax, (x + 2.52, 1.5), (x + 2.96, 1.5), INK)
    ax.plot([0.1, 19.9], [3.4, 3.4], color=FAINT, linewidth=2)
    label(ax, 0.1, 3.85, "every step is checked as you write it", GREY, ha="left", size=8.5)
    label(
        ax, 19.9, 3.85, "one code: interpreted on a laptop, fast on a GPU", GREY, "right", size=8.5
    )
    return done(figure)


FIGURES: dict[str, Callable[[], Figure]] = {
    "docs/pictures/road.svg": road,
    "homework/figures/fused_pass.svg": fused_pass,
    "homework/figures/tiles.svg": tiles,
    "homework/figures/backward.svg": backward,
    "homework/figures/two_kernels.svg": two_kernels,
}
