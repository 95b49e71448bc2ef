# course: exercise
"""FlashAttention in Triton against PyTorch's attention: time and memory, forward and backward.

``python -m benchmarking.bench_attention [--impl flash_triton|pytorch_sdpa]`` times both (or one),
on a GPU, and writes ``outputs/csv/attention_benchmark.csv``.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarking.script import clock_or_exit, write_csv
from course.bench.clock import Clock
from course.bench.timing import measure

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]

SEQ_LENS = (256, 1024, 4096, 8192, 16384)
IMPLEMENTATIONS = ("flash_triton", "pytorch_sdpa")
MEASURED = [
    "forward_ms",
    "forward_peak_MiB",
    "backward_ms",
    "backward_peak_MiB",
    "saved_activations_MiB",
]
COLUMNS = ["implementation", "d_model", "seq_len", *MEASURED, "status", "gpu"]
OUTPUT = Path("outputs/csv/attention_benchmark.csv")


def measure_one(
    attention: Attention,
    Q: Float[Tensor, "batch seq d"],
    K: Float[Tensor, "batch seq d"],
    V: Float[Tensor, "batch seq d"],
    dO: Float[Tensor, "batch seq d"],
    clock: Clock,
    warmup: int = 10,
    passes: int = 100,
    log: Callable[[str], None] = print,
) -> dict:
    """Time the forward and the backward pass of one configuration, each by itself.

    You wrote the timing in hw1-4; here ``measure(fn, warmup, passes, clock)`` does it, and returns
    ``.median_ms`` and ``.peak_mib``. The backward pass needs a forward pass that has happened, but
    must not be charged for it: do one forward pass, then time
    ``torch.autograd.grad(O, (Q, K, V), dO, retain_graph=True)``, which can be repeated.

    Saved activations are what a forward pass leaves allocated for the backward pass (its output
    included): the difference of ``clock.allocated_mib()`` around one, its output still alive.

    Returns:
        The columns of MEASURED and ``status``: "ok"; "OOM" if the forward pass ran out of memory
        (``torch.cuda.OutOfMemoryError``), "OOM(backward)" if the backward pass did; "failed" for
        any other error. What could not be measured is None, and ``log`` gets the reason.
    """
    ### BEGIN SOLUTION hw3-6 one configuration
    row = dict.fromkeys(MEASURED)
    out_of_memory = "OOM"
    try:
        forward = measure(lambda: attention(Q, K, V), warmup, passes, clock)
        row |= {"forward_ms": forward.median_ms, "forward_peak_MiB": forward.peak_mib}
        before = clock.allocated_mib()
        O = attention(Q, K, V)
        row["saved_activations_MiB"] = clock.allocated_mib() - before
        out_of_memory = "OOM(backward)"
        backward = measure(
            lambda: torch.autograd.grad(O, (Q, K, V), dO, retain_graph=True), warmup, passes, clock
        )
        row |= {"backward_ms": backward.median_ms, "backward_peak_MiB": backward.peak_mib}
    except torch.cuda.OutOfMemoryError as error:
        log(f"length {Q.shape[1]}: {error}")
        return row | {"status": out_of_memory}
    except Exception as error:
        log(f"length {Q.shape[1]}: {type(error).__name__}: {error}")
        return row | {"status": "failed"}
    return row | {"status": "ok"}
    ### END SOLUTION


def sweep(
    clock: Clock,
    implementations: dict[str, Attention],
    batch_size: int = 8,
    d_model: int = 64,
    seq_lens: Sequence[int] = SEQ_LENS,
    warmup: int = 10,
    passes: int = 100,
    log: Callable[[str], None] = print,
) -> list[dict]:
    """Measure every implementation at every length.

    Q, K and V are random, float32, on ``clock.device``, of shape (batch_size, seq_len, d_model),
    and ask for gradients; dO, the gradient that comes back, has the same shape.

    Args:
        implementations: name -> ``attention(Q, K, V)``.

    Where already these run out of memory, the row says "OOM", and the sweep goes on.

    Returns:
        One dictionary a configuration with the keys COLUMNS; ``gpu`` is ``clock.name``.
    """
    ### BEGIN SOLUTION hw3-6 all configurations

    def measured(attention: Attention, seq_len: int) -> dict:
        Q, K, V, dO = torch.randn(4, batch_size, seq_len, d_model, device=clock.device)
        for leaf in (Q, K, V):
            leaf.requires_grad_()
        return measure_one(attention, Q, K, V, dO, clock, warmup, passes, log)

    rows = []
    for seq_len in seq_lens:
        for name, attention in implementations.items():
            row: dict = {"implementation": name, "d_model": d_model, "seq_len": seq_len}
            try:
                row |= measured(attention, seq_len)
            except torch.cuda.OutOfMemoryError as error:
                row |= dict.fromkeys(MEASURED) | {"status": "OOM"}
                log(f"length {seq_len}: its inputs: {error}")
            rows.append(row | {"gpu": clock.name})
    return rows
    ### END SOLUTION


def load_implementations(names: Sequence[str] = IMPLEMENTATIONS) -> dict[str, Attention]:
    """The implementations by name, both causal, as language models use attention."""
    from flash_attention.flash_attention import FlashAttentionTriton

    def flash_triton(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
        return FlashAttentionTriton.apply(Q, K, V, True)

    def pytorch_sdpa(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
        # its fused kernels want (batch, heads, seq, d): with three dimensions it would build the
        # whole score matrix, and lose a race it did not run
        Q, K, V = (t.unsqueeze(1) for t in (Q, K, V))
        attention = torch.nn.functional.scaled_dot_product_attention
        return attention(Q, K, V, is_causal=True).squeeze(1)

    known = {"flash_triton": flash_triton, "pytorch_sdpa": pytorch_sdpa}
    return {name: known[name] for name in names}


def main() -> None:
    """Run the sweep on the GPU and write the table."""
    parser = argparse.ArgumentParser(description="FlashAttention in Triton against PyTorch, timed.")
    parser.add_argument(
        "--impl", choices=IMPLEMENTATIONS, help="only this implementation (default: both)"
    )
    parser.add_argument("--warmup", type=int, default=10, help="untimed passes (default: 10)")
    parser.add_argument("--passes", type=int, default=100, help="timed passes (default: 100)")
    arguments = parser.parse_args()
    clock = clock_or_exit("'course check hw3-6' judges this benchmark, its points need no GPU")
    names = [arguments.impl] if arguments.impl else IMPLEMENTATIONS
    rows = sweep(
        clock, load_implementations(names), warmup=arguments.warmup, passes=arguments.passes
    )
    write_csv(OUTPUT, COLUMNS, rows)


if __name__ == "__main__":
    main()
