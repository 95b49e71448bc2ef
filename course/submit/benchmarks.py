"""The learner's benchmarks on a GPU: reported, never worth points."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from course.process import ROOT, environment, python

BENCHMARKS = {
    "benchmarking.bench_softmax_matmul": "softmax_matmul_benchmark.csv",
    "benchmarking.bench_attention": "csv/attention_benchmark.csv",
}
LIMIT = 900  # seconds a benchmark


@dataclass
class Run:
    """One benchmark: ``state`` is "done", "failed" or "not written yet"; ``line`` says more."""

    module: str
    state: str
    line: str


def run_benchmark(module: str, tree: Path, outputs: Path, limit: float = LIMIT) -> Run:
    """Run a benchmark as ``python -m`` would; its words go to ``outputs/<name>.log``."""
    log = outputs / f"{module.split('.')[-1]}.log"
    result = outputs / BENCHMARKS[module]
    result.unlink(missing_ok=True)
    begin = time.monotonic()
    with log.open("wb") as sink:
        try:
            status = subprocess.run(
                python(tree, module),
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                timeout=limit,
            ).returncode
        except subprocess.TimeoutExpired:
            return Run(module, "failed", f"stopped after {limit:.0f} s")
    if status:
        words = log.read_text(errors="replace").strip().splitlines() or ["no message"]
        unwritten = words[-1].startswith("NotImplementedError")
        return Run(module, "not written yet" if unwritten else "failed", words[-1][:160])
    if not result.exists():
        return Run(module, "failed", f"it ended well, but wrote no outputs/{BENCHMARKS[module]}")
    rows = max(len(result.read_text().splitlines()) - 1, 0)
    seconds = time.monotonic() - begin
    return Run(module, "done", f"{rows} rows in {seconds:.0f} s: outputs/{BENCHMARKS[module]}")
