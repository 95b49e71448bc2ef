"""Inputs that find bugs: lengths off the tiles, hostile rows, views."""

import torch
from torch import Tensor

RAGGED = (1, 63, 1000)

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def normal(
    *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Tensor:
    """Standard normal numbers, the same on every machine."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator).to(dtype).to(device)


def hostile_rows(batch: int, rows: int, cols: int, device: str = "cpu") -> Tensor:
    """Rows far below zero, so that padding with 0 shows; one all at -1000, one huge."""
    x = normal(batch, rows, cols) * 10 - 50
    x[:, 0] = -1000.0
    if rows > 1:
        x[:, 1, cols // 2] = 1e4
    return x.to(device)


def strided(t: Tensor) -> Tensor:
    """The same numbers as a view: every dimension spread out, the last two exchanged in memory."""
    wide = torch.full([2 * n for n in t.shape], float("nan"), dtype=t.dtype, device=t.device)
    view = wide.transpose(-1, -2).contiguous().transpose(-1, -2)[(slice(None, None, 2),) * t.ndim]
    view.copy_(t)
    return view
