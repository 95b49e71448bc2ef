"""Pictures of notebook 06 about 8-bit floating point: its number line, and what a scale saves."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure

from course.pictures.style import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    INK,
    PURPLE,
    RED,
    box,
    canvas,
    chart,
    done,
    label,
)

FORMATS = {"E4M3": torch.float8_e4m3fn, "E5M2": torch.float8_e5m2}


def values(dtype: torch.dtype) -> torch.Tensor:
    """All finite positive numbers of an 8-bit format, in order."""
    every = torch.arange(128, dtype=torch.uint8).view(dtype).float()
    return every[every.isfinite() & (every > 0)]


def bits() -> Figure:
    """What the eight bits of the two formats are for."""
    figure, (ax,) = canvas(1.6)
    for y, (name, exponent, words) in enumerate(
        (("E4M3", 4, "up to 448, no inf"), ("E5M2", 5, "up to 57344, with inf"))
    ):
        label(ax, -0.8, 1.3 * y + 0.5, name, weight="bold")
        for i in range(8):
            face = GREY if i == 0 else AMBER if i <= exponent else BLUE
            text = "s" if i == 0 else "e" if i <= exponent else "m"
            box(ax, i, 1.3 * y, text, face)
        label(ax, 8.5, 1.3 * y + 0.5, words, ha="left")
    label(ax, 4.0, 3.0, "s: sign    e: exponent    m: fraction", GREY, size=8.5)
    ax.set_xlim(-2.2, 14)
    ax.set_ylim(3.4, -0.3)
    return done(figure)


def number_line() -> Figure:
    """Every positive number of both formats: from 1 to 4, and all of them on a logarithmic line."""
    figure, (near, far) = chart(2.1, columns=2)
    for y, dtype in enumerate(FORMATS.values()):
        every = values(dtype)
        colour = (BLUE, AMBER)[y]
        near.vlines(every[(every >= 1) & (every <= 4)], y - 0.3, y + 0.3, color=colour, lw=1.6)
        far.vlines(every, y - 0.3, y + 0.3, color=colour, lw=0.8)
    near.set_title("from 1 to 4: 8 steps or 4 a doubling", fontsize=9.5)
    far.set_title("all of them: reach against precision", fontsize=9.5)
    far.set_xscale("log", base=2)
    for ax in (near, far):
        ax.set_yticks(range(2), list(FORMATS))
        ax.set_ylim(1.6, -0.6)
        ax.grid(visible=False)
    return done(figure)


def errors(by_way: Mapping[str, Sequence[float]], groups: Sequence[str]) -> Figure:
    """Error of attention for each of five ways of scaling, by kind of input."""
    figure, (ax,) = chart(3.0, width=7.6)
    width = 0.8 / len(by_way)
    colours = (RED, AMBER, GREEN, BLUE, PURPLE)
    for n, ((name, found), colour) in enumerate(zip(by_way.items(), colours, strict=True)):
        at = [g + (n - (len(by_way) - 1) / 2) * width for g in range(len(groups))]
        bars = ax.bar(at, found, width * 0.92, color=colour, label=name)
        ax.bar_label(bars, fmt="%.2f", fontsize=7, color=INK)
    ax.margins(y=0.2)
    ax.set_xticks(range(len(groups)), groups)
    ax.set_title("relative error of attention with Q, K, V in E4M3", loc="left")
    ax.legend(frameon=False, fontsize=9, loc="upper right")
    return done(figure)
