"""Compile beforehand, in as many processes as there are cores, what a report will time.

Autotuning builds each configuration one after the other, and torch.compile builds each shape: in
one process more than a minute. Triton's and PyTorch's caches on disk are shared, so others can
fill them. Which configuration is fastest is measured again by the process that times.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from course.bench.registry import find
from course.bench.tables import Table
from course.check.registry import in_words

Job = tuple[str, str, dict[str, Any]]


def jobs(tables: Iterable[Table]) -> list[Job]:
    """(op, implementation, case) of everything that compiles, each kernel once.

    A kernel is compiled once for all lengths from 1024, so the shortest stands for them, or the
    longest, where short ones take other tiles (those compile in a second).
    """
    wanted: dict[tuple, Job] = {}
    for part in (part for table in tables for part in table.parts):
        op = find(part.op)
        for name in part.present():
            one = op.implementations[name]
            sign = -1 if one.long_only else 1
            for case in part.cases:
                if not one.compiles or one.refuses(case, None):
                    continue
                key = dict(case)
                if not one.per_shape and case.get("seq_len", 0) >= 1024:
                    key["seq_len"] = 1024
                same = (part.op, name, tuple(key.items()))
                known = wanted.get(same, (part.op, name, case))
                both = (known, (part.op, name, case))
                wanted[same] = min(both, key=lambda job: sign * job[2].get("seq_len", 0))

    def quick(job: Job) -> bool:
        return not find(job[0]).implementations[job[1]].per_shape

    # those that take longest first
    return sorted(wanted.values(), key=quick)


def fill_caches(
    tables: Iterable[Table], tree: Path, patience_s: float, say: Callable[[str], None]
) -> None:
    """Run every job once on this GPU; what fails, or takes longer, is left to the report."""
    todo = jobs(tables)
    workers = max(1, min(12, len(todo), (os.cpu_count() or 1) - 2))
    began = time.monotonic()
    # a process of its own for each worker: CUDA does not survive a fork
    context = multiprocessing.get_context("spawn")
    failed = done = 0
    with context.Pool(workers, _start, (str(tree),)) as pool:
        results = pool.imap_unordered(_run, todo)
        try:
            for _ in todo:
                left = began + patience_s - time.monotonic()
                words = results.next(timeout=max(0.1, left))
                done += 1
                if words:
                    failed += 1
                    say(f"  compiling {words}")
        except multiprocessing.TimeoutError:
            say(f"  {len(todo) - done} of {len(todo)} kernels are left to be compiled while timing")
    seconds = time.monotonic() - began
    say(f"{'compiling':20} {seconds:6.1f} s  {done - failed} kernels, {workers} processes")


def _start(tree: str) -> None:
    # inductor would start as many again, for each of us
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    sys.path.insert(0, tree)
    from course import device

    device.prepare()


def _run(job: Job) -> str:
    """One call, forward and backward where there is one; what went wrong, in words, or ""."""
    import torch

    name, implementation, case = job
    op = find(name)
    try:
        one = op.implementations[implementation]
        inputs = op.inputs(case, "cuda")
        op.candidate(op.passes[-1], one.make(case), inputs, one.keeps_graph)()
        torch.cuda.synchronize()
    except Exception as error:
        return f"{implementation}: {' '.join(in_words(error).split())[:200]}"
    finally:
        torch.cuda.empty_cache()
    return ""
