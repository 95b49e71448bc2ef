# course: given
"""What the upper rungs hand to their kernels, and which tiles a kernel runs with."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor

Sizes = tuple[int, int]  # bytes an element, largest head dimension


def arguments_for(**tensors: Tensor) -> dict[str, Any]:
    """Pointers, strides (elements) and lengths of q, k, v, o, under the names kernels give them.

    Each is (seq, heads, d), or (seq, d): then its strides are those of a view with one head.
    """
    q, k = tensors["q"], tensors["k"]
    d = q.shape[-1]
    arguments: dict[str, Any] = {"seq_q": len(q), "seq_k": len(k), "head_dim": d}
    arguments["BLOCK_D"] = max(16, triton.next_power_of_2(d))
    for name, t in tensors.items():
        view = t if t.ndim == 3 else t[:, None]
        arguments[f"{name}_ptr"] = t
        arguments |= {f"stride_{name}{dim}": s for dim, s in zip("shd", view.stride(), strict=True)}
    return arguments


def config(
    BLOCK_Q: int, BLOCK_K: int, num_warps: int, num_stages: int, **blocks: int
) -> triton.Config:
    """One choice of tiles to try."""
    tiles = {"BLOCK_Q": BLOCK_Q, "BLOCK_K": BLOCK_K, **blocks}
    return triton.Config(tiles, num_warps=num_warps, num_stages=num_stages)


def tuned(kernel: Any, choices: dict[Sizes, list[triton.Config]]) -> dict[Sizes, Any]:
    """The kernel, autotuned over a list for each (bytes an element, largest head dimension)."""
    key = ["seq_q", "seq_k", "head_dim", "IS_CAUSAL"]
    return {sizes: triton.autotune(configs, key=key)(kernel) for sizes, configs in choices.items()}


def launch(
    kernel: Any,
    tuned: dict[Sizes, Any],
    grid: Callable[[dict[str, int]], tuple[int, ...]],
    size: int,
    fixed: dict[str, int],
    **arguments: Any,
) -> None:
    """Launch with the fastest tiles of the list for ``size`` bytes an element, or with fixed ones.

    To try a list takes a second or more for every new shape, so lengths below 1024 take the fixed
    tiles; so do the interpreter, and chips before sm_80, whose products are made without tensor
    cores: there a large tile takes minutes to compile, and spills.
    """
    q = arguments["q_ptr"]
    seq = max(arguments["seq_q"], arguments["seq_k"])
    if q.is_cuda and seq >= 1024 and torch.cuda.get_device_capability(q.device) >= (8, 0):
        tuned[size, max(64, arguments["BLOCK_D"])][grid](**arguments)
    else:
        kernel[grid](**arguments, **fixed)


def with_tiles(
    rung: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    is_causal: bool,
    BLOCK_Q: int,
    BLOCK_K: int,
    **choice: int,
) -> Tensor:
    """A rung's ``attention``, by its file's name, with these tiles whatever its list says.

    ``choice``: num_warps and num_stages, where they should be others than those of fixed tiles.
    """
    module: Any = importlib.import_module(f"attention_ladder.{rung}")
    tiles = {"BLOCK_Q": BLOCK_Q, "BLOCK_K": BLOCK_K, **choice}

    def launch_these(
        kernel: Any, tuned: Any, grid: Any, size: int, fixed: dict[str, int], **arguments: Any
    ) -> None:
        kernel[grid](**arguments, **{**fixed, **tiles})

    own, module.launch = module.launch, launch_these
    try:
        return module.attention(q, k, v, is_causal)
    finally:
        module.launch = own


def fixed_tiles(q: Tensor, size: int, BLOCK_D: int) -> dict[str, int]:
    """Tiles that fit every chip, of ``size`` bytes an element; few and large when interpreted."""
    rows = 64
    if q.is_cuda:
        # before sm_80: 64 KB of shared memory, and registers that 64 x 64 products would fill
        heavy = size == 4 or torch.cuda.get_device_capability(q.device) < (8, 0)
        wide = BLOCK_D > 128
        rows = 16 if heavy and wide else 32 if heavy or wide else 64
    # 8 warps: products without tensor cores fill the registers of 4 even at 32 x 32
    return {"BLOCK_Q": rows, "BLOCK_K": rows, "num_warps": 8 if rows == 32 else 4, "num_stages": 1}


def precision(q: Tensor) -> str:
    """How ``tl.dot`` multiplies float32: TF32 only where PyTorch may use it too."""
    if torch.get_float32_matmul_precision() != "highest":
        return "tf32"
    # three TF32 products keep float32's accuracy and, from sm_80 on, run on tensor cores
    cores = q.is_cuda and torch.cuda.get_device_capability(q.device) >= (8, 0)
    return "tf32x3" if cores else "ieee"
