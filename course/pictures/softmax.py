"""Pictures of notebook 01: the recurrence, merging, the backward's matrix, clocks, bytes."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from course.bench import measured
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

# Reads and writes of the whole matrix, counted from the code: (who, reads, writes).
PASSES = (
    ("five PyTorch operations", 5, 3),
    ("three passes, one kernel", 3, 1),
    ("online: two passes", 2, 1),
    ("the row fits on the chip", 1, 1),
)


def overflow() -> Figure:
    """exp(x) in fp32 leaves its range at both ends; shifted by the maximum it cannot overflow."""
    figure, (ax,) = chart(2.4)
    x = torch.linspace(-130, 130, 521)
    ax.plot(x, torch.exp(x.double()), color=GREY, lw=1.2)
    inside = (x > -87.3) & (x < 88.7)
    ax.plot(x[inside], torch.exp(x.double())[inside], color=BLUE, lw=2.5)
    ax.set_yscale("log")
    ax.set_yticks([1e-40, 1e-20, 1, 1e20, 1e40])
    ax.axvline(88.7, color=RED, lw=1, ls="--")
    ax.text(91, 1e-40, "inf from 88.8 on", color=RED)
    ax.text(15, 1e-12, "$e^x$ in fp32", color=BLUE)
    ax.axvspan(-130, 0, color=FAINT, zorder=0)
    ax.text(-65, 1e30, "where $x - \\max x$ lies", color=INK, ha="center")
    ax.set_xlabel("x")
    return done(figure)


def recurrence(x: Tensor, BLOCK: int = 4) -> Figure:
    """One row read in blocks: the running maximum m above, the running sum l below."""
    values = x.detach().double().cpu()
    figure, axes = chart(2.7, columns=2)
    n, m, l = len(values), float("-inf"), 0.0
    for number, start in enumerate(range(0, n, BLOCK)):
        block = values[start : start + BLOCK]
        end = start + len(block)
        new = max(m, block.max().item())
        kept = l * torch.exp(torch.tensor(m - new)).item()
        l, m = kept + torch.exp(block - new).sum().item(), new
        colour = PROGRAMS[number % len(PROGRAMS)]
        axes[0].bar(range(start, end), block, color=colour, width=0.85)
        for i in range(start, end):
            if values[i] == 0:  # a bar without height looks like a gap
                axes[0].text(i, 0.08, "0", ha="center", color=colour, fontsize=9)
        axes[0].hlines(m, start - 0.5, end - 0.5, color=RED, lw=2, label="" if start else "m")
        axes[1].bar(number, kept, color=GREY, label="" if start else "kept, rescaled")
        axes[1].bar(number, l - kept, bottom=kept, color=colour)
        axes[1].text(number, l + 0.05, f"l = {l:.2f}", ha="center", color=INK, fontsize=9)
    axes[0].set_title("x in blocks, and the maximum so far")
    axes[1].set_title("l after each block, relative to m")
    axes[0].legend(frameon=False)
    axes[1].legend(frameon=False)
    for ax in axes:
        ax.margins(y=0.25)
    axes[0].set_xticks(range(0, n, BLOCK))
    axes[1].set_xticks(range(-(-n // BLOCK)))
    axes[1].set_xlabel("block")
    return done(figure)


def merging() -> Figure:
    """Four partial (m, l): merged one after another, or as a tree; the root is the same."""
    figure, axes = canvas(2.9, columns=2)
    pair = "m, l"
    for ax, title in zip(axes, ("one after another", "as a tree"), strict=True):
        label(ax, 4.1, -0.7, title, weight="bold")
        for i in range(4):
            box(ax, 2.2 * i, 0, pair, PROGRAMS[i], width=1.6)
    ends = [(0.8, 1.0)]
    for i in range(1, 4):
        x, y = 2.2 * i, 0.7 + 1.35 * i
        box(axes[0], x, y, pair, GREY if i < 3 else RED, width=1.6)
        arrow(axes[0], ends[-1], (x, y + 0.5))
        arrow(axes[0], (x + 0.8, 1.0), (x + 0.8, y))
        ends.append((x + 0.8, y + 1.0))
    for i, x in enumerate((1.1, 5.5)):
        box(axes[1], x, 2.4, pair, GREY, width=1.6)
        for j in (2 * i, 2 * i + 1):
            arrow(axes[1], (2.2 * j + 0.8, 1.0), (x + 0.8, 2.4))
        arrow(axes[1], (x + 0.8, 3.4), (4.1, 4.75))
    box(axes[1], 3.3, 4.75, pair, RED, width=1.6)
    for ax in axes:
        fit(ax, 8.2, 5.4, 0.9)
    return done(figure)


def jacobian(y: Tensor) -> Figure:
    """diag(y) - y y^T of one row, split into its diagonal and its rank-one part."""
    values = y.detach().double().cpu()
    outer = torch.outer(values, values)
    figure, axes = canvas(2.5, columns=3)
    parts = (
        ("$J$", torch.diag(values) - outer),
        ("= diag$(y)$", torch.diag(values)),
        ("$-\\;y\\,y^T$", -outer),
    )
    limit = values.max().item()
    for ax, (title, matrix) in zip(axes, parts, strict=True):
        ax.imshow(matrix, cmap="RdBu", vmin=-limit, vmax=limit)
        ax.set_title(title)
    return done(figure)


def timeline() -> Figure:
    """The CPU launches and goes on; the GPU works later. Which span does a stopwatch measure?"""
    figure, (ax,) = canvas(3.1)
    label(ax, -0.3, 0.9, "CPU", ha="right")
    label(ax, -0.3, 2.6, "GPU", ha="right")
    for i in range(3):
        box(ax, 0.9 * i, 0.5, f"{i}", PROGRAMS[i], width=0.7, height=0.8)
        box(ax, 1.2 + 3.6 * i, 2.2, f"kernel {i}", PROGRAMS[i], width=3.5, height=0.8)
        arrow(ax, (0.9 * i + 0.35, 1.3), (1.2 + 3.6 * i + 0.2, 2.2))
    box(ax, 2.7, 0.5, "synchronize()", FAINT, width=9.2, height=0.8)
    for x, text, colour, y in (
        (2.65, "stopwatch: too early", RED, 0.0),
        (12.0, "right", GREEN, 0.0),
    ):
        ax.plot([x, x], [0.2, 3.4], color=colour, lw=1.4, ls="--")
        label(ax, x, y - 0.1, text, colour)
    for x in (1.2, 4.75, 8.35, 11.95):
        ax.plot([x, x], [3.1, 3.6], color=AMBER, lw=2)
    label(ax, 6.5, 3.9, "events: marks in the GPU's own queue", AMBER)
    fit(ax, 12.5, 4.0, 0.8)
    return done(figure)


def traffic(passes: Sequence[tuple[str, int, int]] = PASSES) -> Figure:
    """How often each way to compute a softmax reads and writes the whole matrix."""
    figure, (ax,) = canvas(2.3)
    for i, (name, reads, writes) in enumerate(passes):
        label(ax, 0, 0.5 + 1.3 * i, name, ha="left")
        for k in range(reads + writes):
            read = k < reads
            box(
                ax,
                7 + 1.55 * k,
                1.3 * i,
                "read" if read else "write",
                BLUE if read else AMBER,
                width=1.5,
            )
    fit(ax, 19.5, 5.0)
    return done(figure)


def bandwidth() -> Figure:
    """Measured GB/s of copy and softmax kernels against the width of a row.

    Reads ``docs/performance/softmax.json``; says so where nothing has been measured.
    """
    figure, (ax,) = chart(3.0)
    try:
        table, where = measured.load("softmax")
    except FileNotFoundError:
        ax.axis("off")
        ax.text(0.5, 0.5, "Nothing has been measured yet.", ha="center", va="center", color=GREY)
        return done(figure)
    table = table.dropna(subset=["forward_GB_per_s"])
    kernels = {
        "copy": "copy",
        "torch.softmax": "torch.softmax",
        "online_softmax": "online_softmax, blocks 16 x 16",
        "online_softmax_1x4096": "online_softmax, blocks 1 x 4096",
    }
    for number, (kernel, name) in enumerate(kernels.items()):
        rows = table[table["implementation"] == kernel].sort_values("d2")
        colour = PROGRAMS[number % len(PROGRAMS)]
        ax.plot(rows["d2"], rows["forward_GB_per_s"], "o-", ms=4, color=colour, label=name)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("row length")
    ax.set_ylabel("GB/s, one read, one write")
    ax.set_title(where, fontsize=9, color=GREY)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return done(figure)
