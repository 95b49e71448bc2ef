# course: given
"""What ``python -m attention_ladder.<rung>`` does: check, then, on a GPU, time and plot."""

import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import triton
from torch import Tensor

from course.bench.plots import memory_chart, time_chart
from course.bench.timing import compare
from course.check import assert_matches, in_words
from course.oracle import attention as oracle

Attention = Callable[[Tensor, Tensor, Tensor, bool], Tensor]
HEAD_DIM = 64
LENGTHS = [2**n for n in range(6, 15)]


def main(rung: str, attention: Attention) -> None:
    """Check ``attention``; on a GPU also time it against the naive rung, to ``outputs/``."""
    _choose_device()
    interpreted = triton.knobs.runtime.interpret
    try:
        check_rung(attention, "cpu" if interpreted else "cuda")
    except Exception as error:
        raise SystemExit(f"{rung} {in_words(error)}") from None
    print(f"{rung}: right at every length tried.")
    if interpreted:
        print(
            "Time and memory are not measured: kernels are interpreted here, statement by "
            "statement on the CPU, and how long that takes says nothing about a GPU."
        )
        return
    from attention_ladder import naive

    table = pd.DataFrame(measure_rungs({"naive": naive.attention, rung: attention}))
    print(table.to_string(index=False))
    path = Path("outputs", f"attention_ladder_{rung}")
    path.parent.mkdir(exist_ok=True)
    table.to_csv(f"{path}.csv", index=False)
    source = f"{torch.cuda.get_device_name()}, float32, head dimension {HEAD_DIM}"
    for column, chart in (("forward_ms", time_chart), ("forward_peak_MiB", memory_chart)):
        figure = chart(table, "seq_len", column, "rung", "Attention, one head", source)
        figure.savefig(f"{path}_{column}.png")
    print(f"{path}.csv, {path}_forward_ms.png and {path}_forward_peak_MiB.png are written.")


def check_rung(attention: Attention, device: str) -> None:
    """Compare with PyTorch in float64.

    Raises:
        AssertionError: says where it is wrong.
    """
    torch.manual_seed(0)
    for seq_q, seq_k, d in ((1, 1, 16), (9, 20, 64), (12, 7, 40)):
        for is_causal in (False, True):
            q = torch.randn(seq_q, d, device=device)
            k, v = torch.randn(2, seq_k, d, device=device)
            got = attention(q, k, v, is_causal)
            assert_matches("o", got, oracle.attention, q, k, v, is_causal)


def measure_rungs(
    rungs: dict[str, Attention], lengths: Sequence[int] = LENGTHS
) -> list[dict[str, object]]:
    """Median milliseconds and peak MiB (inputs included) of a call: float32, one head, not causal.

    A rung that fails at a length, or is wrong there, has a row with a status and no numbers.

    Raises:
        RuntimeError: there is no GPU.
    """
    rows: list[dict[str, object]] = []
    for seq_len in lengths:
        q, k, v = torch.randn(3, seq_len, HEAD_DIM, device="cuda")
        right = partial(_judge, q, k, v)
        calls: dict[str, Callable[[], object]] = {
            name: partial(attention, q, k, v, False) for name, attention in rungs.items()
        }
        for name, outcome in compare(calls, correct=right, budget_ms=500).items():
            timing = outcome.timing
            rows.append(
                {
                    "rung": name,
                    "seq_len": seq_len,
                    "head_dim": HEAD_DIM,
                    "forward_ms": timing.median_ms if timing else None,
                    "forward_peak_MiB": timing.peak_mib if timing else None,
                    "status": outcome.status,
                }
            )
    return rows


def _judge(q: Tensor, k: Tensor, v: Tensor, name: str, got: object) -> None:
    assert isinstance(got, Tensor), f"{name}: expected a tensor, got {type(got).__name__}"
    # the lowest rung adds up the keys one after the other
    condition = math.sqrt(len(k))
    assert_matches("o", got, oracle.attention, q, k, v, False, condition=condition)


def _choose_device() -> None:
    """Without a GPU, start this command again with the interpreter: triton chose when imported."""
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") is None:
        sys.stdout.flush()
        os.execve(sys.executable, sys.orig_argv, os.environ | {"TRITON_INTERPRET": "1"})
