"""Measurements in Markdown, and the page's charts as files."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure


class Paper(NamedTuple):
    """Where a section draws: the folder for charts, and its address as the page sees it."""

    folder: Path
    prefix: str

    def picture(self, chart: Figure, alt: str, name: str) -> str:
        """Save a chart; returns the line that shows it."""
        chart.savefig(self.folder / f"{name}.png")
        return f"\n![{alt}]({self.prefix}{name}.png)\n"


def markdown_table(header: list[str], rows: Iterable[list[object]]) -> str:
    """A table in Markdown; floats with three significant digits, None as a dash."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def with_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Measurements as floats: where nothing at all ran, a column holds None."""
    measured = ("ms", "_MiB", "_per_s", "_speed", "_mean", "_std")
    columns = [c for c in frame.columns if c.endswith(measured)]
    return frame.astype(dict.fromkeys(columns, float))


def status(row: pd.Series) -> str:
    """Why a row has no number, or ""."""
    words = str(row.get("status", "ok"))
    if words == "ok":
        return ""
    reason = row.get("reason")
    known = isinstance(reason, str) and reason
    return f"{words}: {_short(reason)}" if known and isinstance(reason, str) else words


def _short(reason: str) -> str:
    text = reason.replace("|", "/")
    return text if len(text) <= 90 else text[:87] + "..."


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
