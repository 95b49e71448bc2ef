# course: instructor
"""``softmax(x) @ V`` on the tensor cores' fastest path, computed transposed.

What each step buys beside the homework's readable kernel:

- out^T = V^T softmax(x)^T. Hopper's wgmma wants a float32 operand in shared memory with the
  dimension that is summed over contiguous, and V lies the other way: as second operand every tile
  of it is turned round through registers. The first operand may stay in registers, where order does
  not matter: transposed, that is V, and the exponentials are written to shared memory as wanted;
- tiles of up to 128 rows by 256 columns: x and V come from the L2 cache, and that bounds small
  tiles: each product of a tile of r x c reads (r + c) / (r c) numbers;
- for float32 accuracy V and the exponentials are split into two TF32 numbers each by hand, three
  products a tile into a sum of their own, which ordinary, rounded additions carry over: a tensor
  core's own additions cut off, and that adds up over thousands of terms.

Method: as softmax_matmul.py; the split: H. Ootomo and R. Yokota, "Recovering single precision
accuracy from Tensor Cores" (2022), section 3.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from softmax_matmul.softmax_matmul import _check, _precision, fused_softmax

LOG2E = tl.constexpr(1.4426950408889634)
# finite, so that rows that begin with -inf do not compute inf - inf
LOWEST = tl.constexpr(-3.4028234663852886e38)
# tensor cores cut the last 13 bits off both factors, 2^-10 * 0.36 of each on average
CENTRE = tl.constexpr(1.000704)

# (major capability, products) -> BLOCK_1, BLOCK_2, BLOCK_3, num_warps, num_stages; products as
# _precision says, "half" for 16-bit inputs. The best of 52 on an H200 (nothing spills, but for 16
# bytes of the first with triton 3.6); those for sm_80 compile without spills and were never timed
TILES = {
    (9, "tf32"): (128, 32, 256, 8, 4),
    (9, "tf32x3"): (64, 32, 256, 8, 3),
    (9, "half"): (128, 64, 256, 8, 3),
    (8, "tf32"): (64, 32, 128, 8, 3),
    (8, "tf32x3"): (64, 32, 128, 8, 2),
    (8, "half"): (64, 64, 128, 8, 3),
}


@triton.jit
def _to_tf32(t):
    """The nearest float32 whose last 13 bits are zero."""
    bits = t.to(tl.int32, bitcast=True)
    return ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)


@triton.jit
def _fast_softmax_matmul_kernel(
    x_ptr, V_ptr, out_ptr,  # (batch, d1, d2), (batch, d2, d3), (batch, d1, d3), the last contiguous
    stride_xb, stride_x1, stride_x2, stride_Vb, stride_V2, stride_V3,  # elements
    d1, d2, d3,
    PRECISION: tl.constexpr,  # "half", "tf32" or "tf32x3"
    EVEN: tl.constexpr,  # all lengths are multiples of the tiles
    BLOCK_1: tl.constexpr,  # rows of x a program
    BLOCK_2: tl.constexpr,  # columns of x a step
    BLOCK_3: tl.constexpr,  # columns of V a program
):  # fmt: skip
    # programs of the same rows follow each other and share x in the L2 cache, those of one batch V
    pid, tiles_1, tiles_3 = tl.program_id(0), tl.cdiv(d1, BLOCK_1), tl.cdiv(d3, BLOCK_3)
    batch = (pid // (tiles_3 * tiles_1)).to(tl.int64)
    row, col = pid // tiles_3 % tiles_1 * BLOCK_1, pid % tiles_3 * BLOCK_3
    i, j, k = tl.arange(0, BLOCK_1), tl.arange(0, BLOCK_3), tl.arange(0, BLOCK_2)
    # a moving scalar and a tile of 32-bit offsets: half the registers of a tile of pointers
    x_start = x_ptr + batch * stride_xb + row.to(tl.int64) * stride_x1
    V_start = V_ptr + batch * stride_Vb + col.to(tl.int64) * stride_V3
    x_tile = i[:, None] * stride_x1 + k[None, :] * stride_x2
    V_tile = j[:, None] * stride_V3 + k[None, :] * stride_V2  # V^T

    m = tl.full((BLOCK_1,), LOWEST, tl.float32)
    l = tl.zeros((BLOCK_1,), tl.float32)
    acc = tl.zeros((BLOCK_3, BLOCK_1), tl.float32)  # out^T, times l
    for start in range(0, d2, BLOCK_2):
        if EVEN:
            x = tl.load(x_start + x_tile)
            V = tl.load(V_start + V_tile)
        else:
            x_mask = (i[:, None] < d1 - row) & (k[None, :] < d2 - start)
            V_mask = (j[:, None] < d3 - col) & (k[None, :] < d2 - start)
            x = tl.load(x_start + x_tile, mask=x_mask, other=float("-inf"))
            V = tl.load(V_start + V_tile, mask=V_mask, other=0.0)
        x_start += BLOCK_2 * stride_x2
        V_start += BLOCK_2 * stride_V2

        x = x.to(tl.float32)
        m_new = tl.maximum(m, tl.max(x, 1))
        rescale = tl.exp2((m - m_new) * LOG2E)
        p = tl.exp2((x - m_new[:, None]) * LOG2E)
        l = l * rescale + tl.sum(p, 1)
        m = m_new
        if PRECISION == "half":
            acc *= rescale[None, :]
            acc = tl.dot(V, tl.trans(p.to(V.dtype)), acc)
        elif PRECISION == "tf32":
            acc *= rescale[None, :]
            acc = tl.dot(V * CENTRE, tl.trans(p), acc, input_precision="tf32")
        else:
            V_big, p_big = _to_tf32(V), _to_tf32(p)
            V_small, p_small = V - V_big, p - p_big
            # the fourth product, of the small parts, is below float32's last bit
            part = tl.dot(V_small, tl.trans(p_big), input_precision="tf32")
            part = tl.dot(V_big, tl.trans(p_small), part, input_precision="tf32")
            part = tl.dot(V_big, tl.trans(p_big), part, input_precision="tf32")
            acc = acc * rescale[None, :] + part

    # not acc * (1 / l): with all of acc wanted at once the compiler spills it
    out = acc / l[None, :]
    out_tile = out_ptr + (batch * d1 + row + i[None, :]) * d3 + col + j[:, None]
    tl.store(out_tile, out, mask=(i[None, :] < d1 - row) & (j[:, None] < d3 - col))


def fast_softmax_matmul(
    x: Float[Tensor, "batch d1 d2"], V: Float[Tensor, "batch d2 d3"]
) -> Float[Tensor, "batch d1 d3"]:
    """``softmax(x, dim=-1) @ V``; allocates the output and nothing else.

    Args:
        x, V: any strides, any lengths; both float32, float16 or bfloat16. float32 products follow
            ``torch.get_float32_matmul_precision()``: 'highest' keeps float32's accuracy, anything
            else allows TF32. V finite: at 'highest' an infinity becomes NaN.

    Below sm_80, above sm_90 and for strides beyond 2^22 the readable kernel runs.

    Raises:
        ValueError: names the argument that is wrong, and what it got.
    """
    _check(x, V, 16, 16)
    batch, d1, d2, d3 = *x.shape, V.shape[2]
    products = _precision(x) if x.dtype == torch.float32 else "half"
    major = torch.cuda.get_device_capability(x.device)[0] if x.is_cuda else 9
    if (major, "half") not in TILES or max(*x.stride()[1:], *V.stride()[1:]) > 2**22:
        return fused_softmax(x, V, 32, 32)
    # only interpreted is it "ieee", and there any name gives the same products
    products = "tf32x3" if products == "ieee" else products
    BLOCK_1, BLOCK_2, BLOCK_3, warps, stages = TILES[major, products]
    BLOCK_3 = min(BLOCK_3, max(16, triton.next_power_of_2(d3)))
    out = torch.empty((batch, d1, d3), dtype=x.dtype, device=x.device)
    grid = (batch * triton.cdiv(d1, BLOCK_1) * triton.cdiv(d3, BLOCK_3),)
    _fast_softmax_matmul_kernel[grid](
        x, V, out, *x.stride(), *V.stride(), d1, d2, d3,
        PRECISION=products, EVEN=not (d1 % BLOCK_1 or d2 % BLOCK_2 or d3 % BLOCK_3),
        BLOCK_1=BLOCK_1, BLOCK_2=BLOCK_2, BLOCK_3=BLOCK_3, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    return out
