# course: given
"""Which tiles to try: every kernel's list for each size of element and head dimension.

Measured on an H200 first; the last entry of a list is small enough for every chip that takes it.
"""

from typing import Any

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from flash_attention.tiles import is_heavy

# bytes an element, 6 where a float32 is three of bfloat16 (see in_parts); largest head dimension
Sizes = tuple[int, int]


def set_block_shapes(arguments: dict) -> None:
    """Give each descriptor among a kernel's arguments the tile that a configuration chose."""
    for name, rows in (("q", "BLOCK_Q"), ("do", "BLOCK_Q"), ("k", "BLOCK_K"), ("v", "BLOCK_K")):
        t = arguments.get(name)
        if isinstance(t, TensorDescriptor):
            t.block_shape = [1, arguments[rows], arguments["BLOCK_D"]]


def config(BLOCK_Q: int, BLOCK_K: int, num_warps: int, num_stages: int) -> triton.Config:
    """One configuration to try."""
    return triton.Config(
        {"BLOCK_Q": BLOCK_Q, "BLOCK_K": BLOCK_K},
        num_warps=num_warps,
        num_stages=num_stages,
        pre_hook=set_block_shapes,
    )


# fmt: off
FORWARD = {  # queries, keys, warps, stages
    (2, 64): [config(64, 128, 4, 2), config(128, 64, 4, 3), config(32, 32, 4, 2)],
    (2, 128): [config(128, 64, 4, 2), config(64, 64, 4, 3), config(32, 32, 4, 2)],
    (2, 256): [config(128, 64, 8, 2), config(64, 32, 4, 2), config(32, 32, 4, 1)],
    (4, 64): [config(128, 64, 8, 2), config(64, 64, 4, 2), config(32, 32, 4, 1)],
    (4, 128): [config(16, 32, 4, 1), config(32, 32, 8, 1)],
    (4, 256): [config(16, 16, 4, 1)],
    (6, 64): [config(128, 64, 8, 3), config(64, 64, 4, 2), config(32, 32, 4, 1)],
    (6, 128): [config(128, 64, 8, 1), config(64, 64, 4, 1), config(16, 32, 4, 1)],
    (6, 256): [config(64, 32, 4, 1), config(16, 16, 4, 1)],
}
DQ = {  # queries, keys, warps, stages
    (2, 64): [config(64, 64, 4, 3), config(64, 128, 4, 3),
              config(128, 64, 8, 3), config(32, 32, 4, 2)],
    (2, 128): [config(128, 64, 8, 3), config(64, 64, 4, 2), config(32, 32, 4, 2)],
    (2, 256): [config(128, 32, 8, 2), config(64, 32, 4, 2), config(32, 32, 4, 1)],
    (4, 64): [config(64, 32, 4, 2), config(32, 32, 4, 2), config(32, 32, 4, 1)],
    (4, 128): [config(16, 16, 4, 1), config(16, 32, 4, 1)],
    (4, 256): [config(16, 16, 4, 1)],
    (6, 64): [config(128, 32, 8, 3), config(64, 32, 4, 3), config(64, 64, 4, 1)],
    (6, 128): [config(128, 32, 8, 1), config(64, 32, 4, 1), config(16, 32, 4, 1)],
    (6, 256): [config(64, 16, 4, 1), config(16, 16, 4, 1)],
}
DKDV = {  # queries, keys, warps, stages
    (2, 64): [config(64, 64, 4, 3), config(32, 32, 4, 2)],
    (2, 128): [config(64, 64, 4, 2), config(32, 32, 4, 2)],
    (4, 64): [config(32, 32, 4, 2), config(32, 64, 4, 2), config(32, 32, 4, 1)],
    (6, 64): [config(32, 64, 4, 3), config(64, 128, 8, 1), config(64, 64, 4, 1)],
}
# one of the two, where the registers do not hold the sums of both
DV = {  # queries, keys, warps, stages
    (2, 256): [config(64, 128, 8, 2), config(32, 64, 8, 2), config(32, 32, 4, 1)],
    (4, 128): [config(32, 32, 4, 1), config(16, 16, 4, 1)],
    (4, 256): [config(16, 16, 4, 1)],
    (6, 128): [config(64, 128, 8, 1), config(32, 64, 4, 2), config(32, 16, 4, 1)],
    (6, 256): [config(32, 64, 4, 1), config(16, 16, 4, 1)],
}
DK = {  # queries, keys, warps, stages
    (2, 256): [config(32, 128, 8, 2), config(32, 64, 8, 2), config(32, 32, 4, 1)],
    (4, 128): [config(16, 16, 4, 2), config(16, 16, 4, 1)],
    (4, 256): [config(16, 16, 4, 1)],
    (6, 128): [config(32, 128, 8, 1), config(32, 64, 4, 1), config(32, 16, 4, 1)],
    (6, 256): [config(16, 64, 4, 1), config(16, 16, 4, 1)],
}
# fmt: on


def tuned(kernel: Any, choices: dict[Sizes, list[triton.Config]]) -> dict[Sizes, Any]:
    """The kernel, autotuned over a list for each of the sizes."""
    key = ["seq_q", "seq_k", "head_dim", "IS_CAUSAL", "DESCRIPTORS"]
    return {sizes: triton.autotune(configs, key=key)(kernel) for sizes, configs in choices.items()}


def launch(
    kernel: Any,
    tuned: dict[Sizes, Any],
    t: Tensor,
    rows: int,
    block: str,
    **arguments: Any,
) -> None:
    """Launch one program for each tile of ``rows`` in each batch entry of t (batch, seq, d).

    ``block`` names the tile size, "BLOCK_Q" or "BLOCK_K"; ``arguments`` are the kernel's, by name,
    batches, seq_q, seq_k, BLOCK_D and PRECISION among them; the tile sizes are added. Trying
    configurations takes a second for every new shape, so light work, and machines without a GPU,
    take fixed tiles. The grid has one axis, because the others hold 65535 programs at most.
    """

    def grid(meta: dict[str, int]) -> tuple[int]:
        return (t.shape[0] * triton.cdiv(rows, meta[block]),)

    scores = arguments["batches"] * arguments["seq_q"] * arguments["seq_k"]
    size = 6 if arguments["PRECISION"] == "bf16x6" else t.element_size()
    sizes = (size, max(64, arguments["BLOCK_D"]))
    # without tensor cores a large tile takes minutes to compile, and spills
    tensor_cores = t.is_cuda and torch.cuda.get_device_capability(t.device) >= (8, 0)
    if tensor_cores and is_heavy(t, scores):
        tuned[sizes][grid](**arguments)
        return
    arguments |= _fixed_tiles(t, sizes, block)
    set_block_shapes(arguments)
    kernel[grid](**arguments)


def _fixed_tiles(t: Tensor, sizes: Sizes, block: str) -> dict[str, int]:
    """Tiles that fit every chip; the interpreter is fastest with few large ones."""
    own = other = 64
    if t.is_cuda:
        # below sm_80 products are made without tensor cores, in registers that 64 x 64 would fill
        small = torch.cuda.get_device_capability(t.device) < (8, 0)
        narrow = sizes in ((2, 64), (2, 128), (6, 64))
        # 64 KB of shared memory on sm_75: four tiles of 32 rows fit up to 256 bytes a row
        wide = sizes in ((4, 256), (6, 256)) or (small and sizes in ((2, 256), (4, 128)))
        own = other = 64 if narrow and not small else 16 if wide else 32
        if sizes == (6, 128):
            own = 16  # twice as many programs: a fifth less time at 1024 tokens and 8 heads
    # 8 warps: products without tensor cores fill the registers of 4 even at 32 x 32
    warps = 8 if own == 32 else 4
    stages = 2 if own == 64 and sizes[0] == 2 and t.is_cuda else 1
    blocks = {"BLOCK_Q": other, "BLOCK_K": other, block: own}
    return {**blocks, "num_warps": warps, "num_stages": stages}
