# course: exercise
"""How fast is the fused softmax-matmul, and how much memory does it take?

``python -m benchmarking.bench_softmax_matmul`` times it against PyTorch, on a GPU, and writes
``outputs/softmax_matmul_benchmark.csv``.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarking.script import clock_or_exit, write_csv
from course.bench.clock import Clock

D2S = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
BLOCKS = (16, 32, 64)
CONFIGURATION = ["batch_size", "d1", "d2", "d3", "triton", "BLOCK"]
MEASURED = ["forward_ms_mean", "forward_ms_std", "forward_peak_MiB"]
OUTPUT = Path("outputs/softmax_matmul_benchmark.csv")


def time_forward(
    fn: Callable[[], Tensor], clock: Clock, warmup: int = 10, passes: int = 100
) -> dict[str, float]:
    """Time one configuration.

    Call ``fn()`` ``warmup`` times untimed: the first call compiles the kernel. Forget the peak
    memory of that, then time ``passes`` calls one by one. A GPU runs behind the program, so put an
    event before and after each call, wait once at the end, and read them only then. Call
    ``clock.flush_cache()`` before the first event of each pass: then the pass reads its inputs from
    memory, as in a real model, and not from the cache, and is not charged for the flush.

    Args:
        fn: one forward pass.
        clock: ``record() -> event``, ``synchronize()``, ``elapsed_ms(start, end)``,
            ``reset_peak_memory()``, ``peak_memory_mib()``, ``flush_cache()``.

    Returns:
        The columns of MEASURED: mean and sample standard deviation of one pass in milliseconds,
        and the peak memory during the timed passes in MiB.
    """
    ### BEGIN SOLUTION hw1-4 time one configuration
    for _ in range(warmup):
        fn()
    clock.synchronize()
    clock.reset_peak_memory()
    events = []
    for _ in range(passes):
        clock.flush_cache()
        start = clock.record()
        fn()
        events.append((start, clock.record()))
    # one wait for all passes: a wait in each would let the GPU run dry between them
    clock.synchronize()
    times = [clock.elapsed_ms(start, end) for start, end in events]
    return {
        "forward_ms_mean": statistics.fmean(times),
        "forward_ms_std": statistics.stdev(times),
        "forward_peak_MiB": clock.peak_memory_mib(),
    }
    ### END SOLUTION


def sweep(
    clock: Clock,
    fused_softmax: Callable[..., Tensor],
    softmax_mult: Callable[..., Tensor],
    batch_size: int = 16,
    d1: int = 2048,
    d2s: Sequence[int] = D2S,
    d3: int = 512,
    blocks: Sequence[int] = BLOCKS,
    warmup: int = 10,
    passes: int = 100,
    log: Callable[[str], None] = print,
) -> list[dict]:
    """Time every configuration: for each d2 the kernel with each BLOCK, and PyTorch once.

    The inputs are random, float32, on ``clock.device``: x (batch_size, d1, d2), V (batch_size,
    d2, d3). The kernel is called ``fused_softmax(x, V, BLOCK, BLOCK)``: both of its tile sizes are
    BLOCK. PyTorch is ``softmax_mult(x, V)``, and has no BLOCK (None).

    A configuration that cannot run stops nothing: its row has None in each column of MEASURED, and
    ``log`` gets the reason. Memory may be too small already for x and V
    (``torch.cuda.OutOfMemoryError``), or the GPU has no room for the kernel
    (``triton.runtime.errors.OutOfResources``, which is no RuntimeError).

    Returns:
        One dictionary a configuration, with the keys CONFIGURATION + MEASURED; ``triton`` is True
        for the kernel and False for PyTorch.
    """
    ### BEGIN SOLUTION hw1-5 sweep all configurations

    def timed(d2: int, BLOCK: int | None) -> dict[str, float]:
        # made anew for each configuration, so that making them too can fail for one alone
        x = torch.randn(batch_size, d1, d2, device=clock.device)
        V = torch.randn(batch_size, d2, d3, device=clock.device)
        if BLOCK is None:
            return time_forward(partial(softmax_mult, x, V), clock, warmup, passes)
        fn = partial(fused_softmax, x, V, BLOCK, BLOCK)
        return time_forward(fn, clock, warmup, passes)

    rows = []
    for d2 in d2s:
        for BLOCK in (*blocks, None):
            values = (batch_size, d1, d2, d3, BLOCK is not None, BLOCK)
            row: dict = dict(zip(CONFIGURATION, values, strict=True))
            try:
                row |= timed(d2, BLOCK)
            except Exception as error:
                row |= dict.fromkeys(MEASURED)
                log(f"d2 {d2}, BLOCK {BLOCK}: {type(error).__name__}: {error}")
            rows.append(row)
    return rows
    ### END SOLUTION


def main() -> None:
    """Run the sweep on the GPU and write the table."""
    parser = argparse.ArgumentParser(description="Fused softmax-matmul against PyTorch, timed.")
    parser.add_argument("--warmup", type=int, default=10, help="untimed passes (default: 10)")
    parser.add_argument("--passes", type=int, default=100, help="timed passes (default: 100)")
    arguments = parser.parse_args()
    clock = clock_or_exit("'course check hw1-4' judges this benchmark, its points need no GPU")
    from softmax_matmul.softmax_matmul import fused_softmax, softmax_mult

    rows = sweep(
        clock, fused_softmax, softmax_mult, warmup=arguments.warmup, passes=arguments.passes
    )
    write_csv(OUTPUT, CONFIGURATION + MEASURED, rows)


if __name__ == "__main__":
    main()
