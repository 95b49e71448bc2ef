# course: given
"""What the benchmarks do around the measuring: find the GPU, write the table."""

import csv
import sys
from pathlib import Path

import torch

from course.bench.clock import Clock, cuda_clock


def clock_or_exit(instead: str) -> Clock:
    """The GPU's clock. Without a GPU: say what to do instead, and exit with code 2."""
    if torch.cuda.is_available():
        return cuda_clock()
    print(
        "There is no GPU here, so there is nothing to time: kernels are interpreted on the CPU, "
        f"and how long that takes says nothing about a GPU. What you can do: {instead}; run this "
        "on Colab or any machine with a GPU; read the times of others in docs/performance.md.",
        file=sys.stderr,
    )
    raise SystemExit(2)


def write_csv(path: Path, columns: list[str], rows: list[dict]) -> None:
    """Write the rows, an empty field for None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} rows written to {path}")
