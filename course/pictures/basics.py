"""Pictures of notebook 00: programs, masks, strides, broadcasting, a race, a tiled product."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course.pictures.style import (
    AMBER,
    BLUE,
    FAINT,
    GREEN,
    GREY,
    PROGRAMS,
    RED,
    arrow,
    box,
    canvas,
    done,
    fit,
    label,
    row,
)


def programs(n: int = 10, BLOCK: int = 4) -> Figure:
    """A vector of ``n`` elements, coloured by the program that owns them; masked places dashed."""
    count = -(-n // BLOCK)
    figure, (ax,) = canvas(2.1)
    for p in range(count):
        colour = PROGRAMS[p % len(PROGRAMS)]
        middle = (p + 0.5) * BLOCK
        box(ax, p * BLOCK + 0.4, 0, f"program {p}", colour, width=BLOCK - 0.8, height=0.7)
        arrow(ax, (middle, 0.75), (middle, 1.35), colour)
        for i in range(p * BLOCK, (p + 1) * BLOCK):
            if i < n:
                box(ax, i, 1.4, str(i), colour)
            else:
                box(ax, i + 0.05, 1.45, str(i), "white", GREY, 0.9, 0.9, GREY, dashed=True)
    if n < count * BLOCK:
        label(ax, (n + count * BLOCK) / 2, 2.7, "masked off", GREY)
    fit(ax, count * BLOCK, 2.9)
    return done(figure)


def strides() -> Figure:
    """A 3 x 4 matrix, its transpose, and the one line of memory that both of them are."""
    figure, (ax,) = canvas(3.6, width=6.2)
    colours = PROGRAMS[:3]
    label(ax, 2, -0.6, "x: shape (3, 4), strides (4, 1)")
    label(ax, 10, -0.6, "x.T: shape (4, 3), strides (1, 4)")
    for i in range(3):
        for j in range(4):
            text = str(4 * i + j)
            box(ax, j, i + 0.5, text, colours[i])
            box(ax, 8.5 + i, j, text, colours[i])
    for x, y, right, down in ((0, 3.5, "1", "4"), (8.5, 4, "4", "1")):
        arrow(ax, (x + 0.5, y + 0.35), (x + 1.8, y + 0.35))
        label(ax, x + 2.1, y + 0.35, right, GREY)
        arrow(ax, (x - 0.3, y - 2.7), (x - 0.3, y - 1.4))
        label(ax, x - 0.3, y - 1.1, down, GREY)
    label(ax, 6, 5.3, "the same memory")
    row(ax, 0, 5.7, range(12), [c for c in colours for _ in range(4)])
    fit(ax, 12, 6.4, 0.9)
    return done(figure)


def broadcasting() -> Figure:
    """A column of row numbers plus a row of column numbers: a tile of addresses."""
    figure, (ax,) = canvas(2.1)
    rows, cols, stride = (2, 3), (4, 5, 6, 7), 10
    for i, r in enumerate(rows):
        box(ax, 0, i + 0.6, str(r * stride), BLUE, width=1.2)
        for j, c in enumerate(cols):
            box(ax, 9.6 + 1.2 * j, i + 0.6, str(r * stride + c), GREEN, width=1.2)
    for j, c in enumerate(cols):
        box(ax, 3.2 + 1.2 * j, 1.1, str(c), AMBER, width=1.2)
    label(ax, 2.2, 1.6, "+", size=16)
    label(ax, 8.8, 1.6, "=", size=16)
    label(ax, 0.6, 3.2, "rows[:, None] * 10\n(2, 1)")
    label(ax, 5.6, 3.2, "cols[None, :] * 1\n(1, 4)")
    label(ax, 12, 3.2, "offsets\n(2, 4)")
    fit(ax, 14.4, 3.6)
    return done(figure)


def photos(photo: Tensor, grey: Tensor, transposed: Tensor) -> Figure:
    """The photo (H, W, 3) beside two grey results (H, W) and (W, H)."""
    figure, axes = canvas(3.0, columns=3)
    titles = ("PHOTO", "grey(PHOTO)", "grey(PHOTO.transpose(0, 1))")
    for ax, image, title in zip(axes, (photo, grey, transposed), titles, strict=True):
        ax.imshow(image.detach().float().cpu().numpy(), cmap="gray", vmin=0, vmax=1)
        ax.set_title(title, fontsize=9, family="monospace")
    return done(figure)


def lost_update() -> Figure:
    """Two programs add to one total; the second store wipes out the first."""
    figure, (ax,) = canvas(2.75)
    for y, name, part, start in ((0.6, "program 0", 3, 3.2), (3.4, "program 1", 4, 4.4)):
        colour = BLUE if part == 3 else AMBER
        label(ax, 0, y + 0.5, name, colour, "left")
        for i, text in enumerate(("load 0", f"0 + {part}", f"store {part}")):
            box(ax, start + 2.7 * i, y, text, colour, width=2.4)
        arrow(ax, (start + 6.6, y + (1 if part == 3 else 0)), (start + 6.9, 2 if part == 3 else 3))
    label(ax, 0, 2.5, "total", GREY, "left")
    memory = ((2, 8.1, "0", FAINT), (10.1, 1.2, "3", FAINT), (11.3, 1.9, "4", RED))
    for x, width, text, face in memory:
        box(ax, x, 2.05, text, face, width=width, height=0.9)
    label(ax, 13.5, 2.5, "should be 7", RED, "left")
    arrow(ax, (2, 5), (13.2, 5))
    label(ax, 13.5, 5, "time", GREY, "left")
    fit(ax, 16, 5.1)
    return done(figure)


def matmul_steps(steps: int = 3) -> Figure:
    """One program's walk along K: which tiles of A and B it reads, which tile of C it adds to."""
    figure, axes = canvas(2.9, columns=steps)
    for k, ax in enumerate(axes):
        _grid(ax, 0, 4.4, 4, steps, {(2, k): BLUE}, BLUE, "A", lit_row=2)
        _grid(ax, steps + 0.6, 0.8, steps, 4, {(k, 1): AMBER}, AMBER, "B", lit_column=1)
        _grid(ax, steps + 0.6, 4.4, 4, 4, {(2, 1): GREEN}, GREEN, "")
        label(ax, steps + 2.1, 6.9, "C", "white")
        label(ax, steps / 2, 1.2, f"step {k}", weight="bold")
        label(ax, steps / 2, 2.2, "acc +=", GREEN)
        label(ax, steps / 2, 3.0, f"A[2, {k}] B[{k}, 1]")
        fit(ax, steps + 4.6, 8.4)
    return done(figure)


def _grid(
    ax: Axes,
    x: float,
    y: float,
    rows: int,
    columns: int,
    lit: dict[tuple[int, int], str],
    colour: str,
    text: str,
    lit_row: int | None = None,
    lit_column: int | None = None,
) -> None:
    """A matrix cut into tiles: the lit ones filled, their strip outlined."""
    for i in range(rows):
        for j in range(columns):
            face = lit.get((i, j), FAINT)
            box(ax, x + j, y + i, text if (i, j) in lit else "", face)
    if lit_row is not None:
        box(ax, x, y + lit_row, "", "none", width=columns, edge=colour)
    if lit_column is not None:
        box(ax, x + lit_column, y, "", "none", height=rows, edge=colour)
