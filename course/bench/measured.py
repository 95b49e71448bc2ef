"""The committed measurements: ``docs/performance/<name>.json``, read and written.

A file holds ``{"meta": {gpu, driver, torch, triton, python, date, commit}, "rows": [{...}]}``.
"""

import datetime
import json
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

from course.bench.clock import FakeClock

REHEARSAL = "A REHEARSAL WITHOUT A GPU: NO NUMBER HERE WAS MEASURED"
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "performance"


def load(name: str, folder: Path | None = None) -> tuple[pd.DataFrame, str]:
    """Read measurements as a table, with the sentence that belongs beside it.

    Returns:
        The rows, and "NVIDIA H200, torch 2.11.0, triton 3.6.0, 2026-11-20" or the like.

    Raises:
        FileNotFoundError: nothing of that name has been measured; the message says what has.
    """
    path = (folder or FOLDER) / f"{name}.json"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "nothing yet"
        raise FileNotFoundError(f"no measurements of {name!r} in {path.parent}; there are: {known}")
    content = json.loads(path.read_text())
    return pd.DataFrame(content["rows"]), sentence(content["meta"])


def save(name: str, rows: Sequence[dict], meta: dict, folder: Path | None = None) -> Path:
    """Write measurements, one row a line; returns the file's path.

    Raises:
        ValueError: they come from a rehearsal.
    """
    if meta["gpu"] == FakeClock.name:
        raise ValueError(f"{name} comes from a rehearsal: nothing in it was measured")
    path = (folder or FOLDER) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join("    " + json.dumps(row) for row in rows)
    path.write_text(f'{{\n  "meta": {json.dumps(meta)},\n  "rows": [\n{lines}\n  ]\n}}\n')
    return path


def sentence(meta: dict) -> str:
    """Where numbers come from, in words."""
    if meta["gpu"] == FakeClock.name:
        return REHEARSAL
    day = str(meta["date"]).split("T")[0]
    return f"{meta['gpu']}, torch {meta['torch']}, triton {meta['triton']}, {day}"


def environment(gpu: str, commit: str | None = None) -> dict:
    """The ``meta`` of measurements made now, in this process, on ``gpu``."""
    return {
        "gpu": gpu,
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "torch": torch.__version__,
        "triton": version("triton"),
        "python": platform.python_version(),
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
        "commit": commit or _output("git", "-C", str(ROOT), "rev-parse", "HEAD"),
    }


def _output(*command: str) -> str | None:
    """The first line a program prints, or None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else None
