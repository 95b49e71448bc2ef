# course: given
"""Your entry for the leaderboard: FlashAttentionTriton, forward and backward, against PyTorch.

``python -m benchmarking.submit_leaderboard`` checks your kernels at the leaderboard's shape, times
them if they are right, and writes ``outputs/leaderboard_result.txt``. It needs a GPU with bfloat16.
"""

import sys
from pathlib import Path
from typing import Any

import torch

from benchmarking.script import clock_or_exit
from course.bench.clock import Clock
from course.bench.harness import race
from course.bench.measured import environment
from course.bench.registry import find

HEADS, HEAD_DIM, SEQ_LEN = 16, 64, 8192
OUTPUT = Path("outputs/leaderboard_result.txt")


def entry(
    clock: Clock,
    seq_len: int = SEQ_LEN,
    heads: int = HEADS,
    head_dim: int = HEAD_DIM,
    dtype: torch.dtype = torch.bfloat16,
    peer: str = "sdpa_flash",
    **limits: Any,
) -> dict[str, object]:
    """Check, then time forward + backward, causal, in turns with ``peer``.

    ``limits`` (warmup, passes, budget_ms) are those of :func:`course.bench.timing.compare`.

    Returns:
        The lines of the result file; times in milliseconds, medians.

    Raises:
        RuntimeError: the result is wrong or cannot be computed; the message says why.
    """
    op = find("attention")
    case = op.case(heads=heads, seq_len=seq_len, head_dim=head_dim, dtype=dtype, is_causal=True)
    names = op.named(("flash_triton", peer))
    outcomes = race(op, case, names, clock, ("total",), **limits)
    ours, theirs = (outcomes[name]["total"] for name in names)
    if ours.timing is None:
        raise RuntimeError(f"no time for this entry: it {ours.reason}")
    ms = ours.timing.median_ms
    work = op.flops(case, "total")
    return {
        "shape": f"{heads} heads, sequence {seq_len}, head dim {head_dim}, causal",
        "dtype": str(dtype).removeprefix("torch."),
        "forward_backward_ms": round(ms, 4),
        "spread": f"{ours.timing.spread:.1%}",
        "peak_MiB": round(ours.timing.peak_mib, 1),
        "TFLOP_per_s": round(work / ms / 1e9, 1),
        "peer": peer,
        "peer_ms": round(theirs.ms, 4) if theirs.ms else f"none: it {theirs.reason}",
        "speed_against_peer": round(theirs.ms / ms, 3) if theirs.ms else None,
        **environment(clock.name),
    }


def write(result: dict[str, object], path: Path) -> None:
    """One ``key: value`` a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}: {value}\n" for key, value in result.items()))


def main() -> None:
    """Check and time the entry, and write it down."""
    clock = clock_or_exit("'course check hw3-1' tests your kernel")
    try:
        result = entry(clock)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    write(result, OUTPUT)
    print(OUTPUT.read_text() + f"written to {OUTPUT}")


if __name__ == "__main__":
    main()
