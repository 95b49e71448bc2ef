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
from torch import Tensor

from course.bench.plots import memory_chart, time_chart
from course.bench.timing import compare
from course.check import assert_close_to_exact, in_words
from course.device import prepare
from course.oracle import attention as oracle
from course.oracle import fp8

Attention = Callable[[Tensor, Tensor, Tensor, bool], Tensor]
HEAD_DIM = 64
LENGTHS = [2**n for n in range(6, 15)]
# numbers and heads that the upper rungs are timed with; the others are float32 and one head
UPPER = {
    "tiled": (torch.float32, 8),
    "multihead": (torch.float16, 8),
    "fp8": (torch.float16, 8),
    "descriptors": (torch.float16, 8),
}


def main(rung: str, attention: Attention) -> None:
    """Check ``attention``; on a GPU also time it against naive PyTorch, to ``outputs/``."""
    _choose_device()
    machine = prepare()
    dtype, heads = UPPER.get(rung, (torch.float32, 1))
    if rung == "fp8" and machine.interpreted and not _proves_fp8():
        print("fp8: unproven here, because this version of triton does not interpret FP8 rightly.")
        return
    try:
        check_rung(attention, machine.device, rung)
    except Exception as error:
        raise SystemExit(f"{rung} {in_words(error)}") from None
    print(f"{rung}: right at every length tried.")
    if machine.interpreted:
        print(
            "Time and memory are not measured: kernels are interpreted here, statement by "
            "statement on the CPU, and how long that takes says nothing about a GPU."
        )
        return
    lengths = [n for n in LENGTHS if n >= 1024] if rung in UPPER else LENGTHS
    rungs = {"naive": _naive, rung: attention}
    table = pd.DataFrame(measure_rungs(rungs, lengths, heads, dtype))
    print(table.to_string(index=False))
    path = Path("outputs", f"attention_ladder_{rung}")
    path.parent.mkdir(exist_ok=True)
    table.to_csv(f"{path}.csv", index=False)
    numbers = str(dtype).removeprefix("torch.")
    source = f"{torch.cuda.get_device_name()}, {numbers}, head dimension {HEAD_DIM}"
    title = "Attention, one head" if heads == 1 else f"Attention, {heads} heads"
    for column, chart in (("forward_ms", time_chart), ("forward_peak_MiB", memory_chart)):
        figure = chart(table, "seq_len", column, "rung", title, source)
        figure.savefig(f"{path}_{column}.png")
    print(f"{path}.csv, {path}_forward_ms.png and {path}_forward_peak_MiB.png are written.")


def check_rung(attention: Attention, device: str, rung: str = "") -> None:
    """Compare with PyTorch in float64, as (seq, d) and, for the upper rungs, (seq, heads, d).

    Raises:
        AssertionError: says where it is wrong.
    """
    torch.manual_seed(0)
    dtype = UPPER.get(rung, (torch.float32, 1))[0]
    # what a descriptor reads lies 16 bytes apart, so there d is a multiple of 8 in 16 bits
    for seq_q, seq_k, d in ((1, 1, 16), (9, 20, 64), (12, 7, 40)):
        for heads in ((), (2,)) if rung in UPPER else ((),):
            for is_causal in (False, True):
                q = torch.randn(seq_q, *heads, d, device=device).to(dtype)
                k, v = torch.randn(2, seq_k, *heads, d, device=device).to(dtype)
                _judge(q, k, v, is_causal, rung, attention(q, k, v, is_causal))


def measure_rungs(
    rungs: dict[str, Attention],
    lengths: Sequence[int] = LENGTHS,
    heads: int = 1,
    dtype: torch.dtype = torch.float32,
) -> list[dict[str, object]]:
    """Median milliseconds and peak MiB (inputs included) of a call, not causal.

    One head is (seq, d), more are (seq, heads, d). A rung that fails at a length, or is wrong
    there, has a row with a status and no numbers.

    Raises:
        RuntimeError: there is no GPU.
    """
    rows: list[dict[str, object]] = []
    shape = (HEAD_DIM,) if heads == 1 else (heads, HEAD_DIM)
    for seq_len in lengths:
        q, k, v = torch.randn(3, seq_len, *shape, device="cuda").to(dtype)
        right = partial(_judge, q, k, v, False)
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


def _naive(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
    """The lowest rung; all heads at once, which it does not take."""
    from attention_ladder import naive

    if q.ndim == 2:
        return naive.attention(q, k, v, is_causal)
    q, k, v = (t.transpose(0, 1) for t in (q, k, v))
    return oracle.attention(q, k, v, is_causal).transpose(0, 1)


def _judge(q: Tensor, k: Tensor, v: Tensor, is_causal: bool, rung: str, got: object) -> None:
    """The first and the last head, by float64 and by what PyTorch reaches in the rung's numbers."""
    assert isinstance(got, Tensor), f"{rung}: expected a tensor, got {type(got).__name__}"
    heads = [t[:, None] if t.ndim == 2 else t for t in (q, k, v, got)]
    for head in sorted({0, heads[0].shape[1] - 1}):
        q, k, v, o = (t[None, :, head] for t in heads)
        exact = oracle.attention(q.double(), k.double(), v.double(), is_causal)
        own = (fp8.attention if rung == "fp8" else oracle.attention)(q, k, v, is_causal)
        scale, eps = exact.abs().max().item(), torch.finfo(q.dtype).eps
        # the lowest rung adds up the keys one after the other
        condition = math.sqrt(k.shape[1]) if q.dtype == torch.float32 else 1.0
        assert_close_to_exact("o", o, exact, own, scale, eps, condition)


def _proves_fp8() -> bool:
    from course.interpreter import proves

    return proves(fp8.E4M3)


def _choose_device() -> None:
    """Without a GPU, start this command again with the interpreter: triton chose when imported."""
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") is None:
        sys.stdout.flush()
        os.execve(sys.executable, sys.orig_argv, os.environ | {"TRITON_INTERPRET": "1"})
