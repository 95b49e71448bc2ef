"""One look for every picture: a sober palette, sizes that read well at a notebook's width.

A picture is a function that returns a :class:`matplotlib.figure.Figure`; as the last line of a
cell it shows itself. Text that must be read stays in the notebook: a picture only says where.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

INK = "#1f2a36"
GREY = "#7b8794"
FAINT = "#e8ecf0"
BLUE = "#2f6f9f"
AMBER = "#cf8a1d"
GREEN = "#4d8055"
RED = "#b1403f"
PURPLE = "#76609f"
TEAL = "#2f8585"

# one colour a program, in order of program id
PROGRAMS = (BLUE, AMBER, GREEN, PURPLE, TEAL, RED)

WIDTH = 8.0  # inches: the text width of a notebook


def canvas(height: float, columns: int = 1, width: float = WIDTH) -> tuple[Figure, list[Axes]]:
    """Drawing areas without frame or ticks, one unit as wide as high, y growing downwards."""
    figure, axes = _subplots(height, columns, width)
    for ax in axes:
        ax.set_aspect("equal")
        ax.axis("off")
        ax.invert_yaxis()
    return figure, axes


def chart(height: float, columns: int = 1, width: float = WIDTH) -> tuple[Figure, list[Axes]]:
    """Axes for data: no box, a faint horizontal grid."""
    figure, axes = _subplots(height, columns, width)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GREY)
        ax.tick_params(colors=INK)
        ax.grid(axis="y", color=FAINT)
        ax.set_axisbelow(True)
    return figure, axes


def _subplots(height: float, columns: int, width: float) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(
        1, columns, figsize=(width, height), squeeze=False, layout="constrained", dpi=110
    )
    return figure, list(axes[0])


def done(figure: Figure) -> Figure:
    """Take the figure out of pyplot's hands, so that a notebook shows it once, and return it."""
    plt.close(figure)
    return figure


def box(
    ax: Axes,
    x: float,
    y: float,
    text: str = "",
    face: str = FAINT,
    ink: str | None = None,
    width: float = 1.0,
    height: float = 1.0,
    edge: str = "white",
    size: float = 9.5,
    dashed: bool = False,
) -> None:
    """A cell with its upper left corner at (x, y), text in the middle."""
    style = "--" if dashed else "-"
    ax.add_patch(
        Rectangle((x, y), width, height, facecolor=face, edgecolor=edge, lw=1.4, linestyle=style)
    )
    if text:
        ink = ink or (INK if face in (FAINT, "white", "none") else "white")
        middle = (x + width / 2, y + height / 2)
        ax.text(*middle, text, ha="center", va="center", color=ink, fontsize=size)


def row(
    ax: Axes,
    x: float,
    y: float,
    texts: Sequence[object],
    faces: Sequence[str] | str = FAINT,
    edge: str = "white",
) -> None:
    """Cells side by side."""
    colours = [faces] * len(texts) if isinstance(faces, str) else faces
    for i, (text, face) in enumerate(zip(texts, colours, strict=True)):
        box(ax, x + i, y, str(text), face, edge=edge)


def label(
    ax: Axes,
    x: float,
    y: float,
    text: str,
    colour: str = INK,
    ha: str = "center",
    size: float = 9.5,
    weight: str = "normal",
) -> None:
    """Words beside a drawing, centred on (x, y) unless ``ha`` says otherwise."""
    ax.text(x, y, text, ha=ha, va="center", color=colour, fontsize=size, fontweight=weight)


def arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str = GREY,
    bend: float = 0.0,
) -> None:
    """A thin arrow; ``bend`` curves it."""
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            lw=1.2,
            color=colour,
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=1,
            shrinkB=1,
        )
    )


def fit(ax: Axes, width: float, height: float, margin: float = 0.3) -> None:
    """Show the rectangle from (0, 0) to (width, height), y growing downwards."""
    ax.set_xlim(-margin, width + margin)
    ax.set_ylim(height + margin, -margin)
