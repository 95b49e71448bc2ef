# course: given
"""Numbers in 8 bits, and the scales that bring them back: one pass over q, k or v.

FP8 has two formats (Micikevicius et al., "FP8 Formats for Deep Learning", 2022). E4M3 has 3 bits of
mantissa, so rounding changes a number by 1/16 of itself at most, and ends at 448; E5M2 has 2 bits,
1/8, and ends at 57344. So that neither end is met, a block of numbers is divided by a scale of its
own, its largest magnitude / the format's largest number.

V is stored for its product. Hopper reads both operands of an FP8 product along the summed
dimension, here the keys, so V is transposed. And a thread that holds the scores of two neighbouring
keys must have four in a row to multiply weights: keys are stored in the order 0 1 8 9 2 3 10 11 4 5
12 13 6 7 14 15, in which it has them, instead of trading weights between threads. FlashAttention-3
(Shah et al., 2024), section 3.3, does the same.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

BLOCK = 128  # rows that share a scale
FORMATS = (torch.float8_e4m3fn, torch.float8_e5m2)


@triton.jit
def in_order_of_values(p, ROWS: tl.constexpr, KEYS: tl.constexpr):
    """The columns of p (ROWS, KEYS) in the order above."""
    # (.., upper half of 16, pair, one of the pair) -> (.., pair, upper half, one of the pair)
    p = tl.permute(tl.reshape(p, (ROWS, KEYS // 16, 2, 4, 2)), (0, 1, 3, 2, 4))
    return tl.reshape(p, (ROWS, KEYS))


# fmt: off
@triton.jit
def _quantize_kernel(
    x_ptr,  # (seq, heads, head_dim)
    y_ptr,  # (heads, rows, BLOCK_D), or (heads, BLOCK_D, rows): FP8, contiguous
    scale_ptr,  # (heads, rows / ROWS)
    stride_xs, stride_xh, stride_xd,  # elements
    seq, head_dim, rows,
    LARGEST: tl.constexpr,  # of the format
    PER_HEAD: tl.constexpr,  # scale_ptr holds the scales already
    VALUES: tl.constexpr,
    ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
):
    # fmt: on
    block = tl.program_id(0)
    head = tl.program_id(1).to(tl.int64)
    i = block * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK_D)
    x_ptrs = x_ptr + head * stride_xh + i[:, None].to(tl.int64) * stride_xs + d[None, :] * stride_xd
    x = tl.load(x_ptrs, mask=(i[:, None] < seq) & (d[None, :] < head_dim), other=0.0).to(tl.float32)
    scale_ptr += head * tl.num_programs(0) + block
    if PER_HEAD:
        scale = tl.load(scale_ptr)
    else:
        # nothing but zeros: any scale is right, unless the product of two is 0 in float32, which
        # times a masked score of -inf is NaN
        scale = tl.maximum(tl.max(tl.abs(x)), 1e-12) / LARGEST
        tl.store(scale_ptr, scale)
    y = (x / scale).to(y_ptr.dtype.element_ty)
    y_ptr += head * rows * BLOCK_D
    # rows past the end are stored too, as zeros: whoever reads the tiles needs no mask
    if VALUES:
        y = in_order_of_values(y.T, BLOCK_D, ROWS)
        tl.store(y_ptr + d[:, None] * rows + i[None, :], y)
    else:
        tl.store(y_ptr + i[:, None] * BLOCK_D + d[None, :], y)


def quantize_fp8(
    x: Float[Tensor, "seq *heads d"],
    block: int | None = BLOCK,
    dtype: torch.dtype = torch.float8_e4m3fn,
    values: bool = False,
) -> tuple[Float[Tensor, "heads rows d_padded"], Float[Tensor, "heads scales"]]:
    """x in 8 bits and in tiles, and its scales: ``x`` is about ``y * scale``.

    Args:
        x: (seq, heads, d) or (seq, d), any strides.
        block: rows that share a scale, 128; None: all rows of a head do, for which x is read twice.
        values: y is (heads, d_padded, rows) instead of (heads, rows, d_padded), keys in the order
            above.

    Returns:
        y of type ``dtype``, seq padded with zeros to a multiple of 128, d to a power of two from 32
        on; scale (heads, rows / 128), float32, the same all along a head if block is None.

    Raises:
        ValueError: names the argument and what it got.
    """
    if dtype not in FORMATS:
        known = " or ".join(str(d).removeprefix("torch.") for d in FORMATS)
        raise ValueError(f"dtype: expected {known}, got {dtype}")
    if block not in (None, BLOCK):
        raise ValueError(f"block: expected {BLOCK} or None, got {block}")
    view = x if x.ndim == 3 else x[:, None]
    seq, heads, d = view.shape
    blocks, BLOCK_D = triton.cdiv(seq, BLOCK), max(32, triton.next_power_of_2(d))
    rows = blocks * BLOCK
    shape = (heads, BLOCK_D, rows) if values else (heads, rows, BLOCK_D)
    y = torch.empty(shape, dtype=dtype, device=x.device)
    largest = torch.finfo(dtype).max
    if block is None:
        peak = torch.linalg.vector_norm(view, float("inf"), dim=(0, 2), dtype=torch.float32)
        scale = (peak.clamp(min=1e-12) / largest)[:, None].repeat(1, blocks)
    else:
        scale = torch.empty(heads, blocks, dtype=torch.float32, device=x.device)
    _quantize_kernel[(blocks, heads)](
        view, y, scale, *view.stride(), seq, d, rows,
        LARGEST=largest, PER_HEAD=block is None, VALUES=values, ROWS=BLOCK, BLOCK_D=BLOCK_D,
        num_warps=BLOCK * BLOCK_D // 2048,
    )  # fmt: skip
    return y, scale
