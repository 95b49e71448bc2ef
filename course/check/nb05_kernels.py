"""Kernels around the functions of notebook 05 that are called from a kernel.

The function under test is an argument, a ``constexpr``: so a changed function is a changed kernel,
which Triton compiles anew.
"""

from typing import Any

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def follow_kernel(
    step: tl.constexpr,
    s_ptr,  # (BLOCK_Q, width)
    v_ptr,  # (width, D)
    m_ptr,
    l_ptr,
    acc_ptr,  # (BLOCK_Q, D)
    width,
    tiles,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    D: tl.constexpr,
):
    rows, columns = tl.arange(0, BLOCK_Q), tl.arange(0, D)
    m = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    l = tl.zeros((BLOCK_Q,), tl.float32)
    acc = tl.zeros((BLOCK_Q, D), tl.float32)
    for t in range(tiles):
        keys = t * BLOCK_K + tl.arange(0, BLOCK_K)
        s = tl.load(s_ptr + rows[:, None] * width + keys[None, :])
        v = tl.load(v_ptr + keys[:, None] * D + columns[None, :])
        m, l, acc = step(m, l, acc, s, v)
    tl.store(m_ptr + rows, m)
    tl.store(l_ptr + rows, l)
    tl.store(acc_ptr + rows[:, None] * D + columns[None, :], acc)


@triton.jit
def copy_kernel(
    load: tl.constexpr, store: tl.constexpr, x, y, seen_ptr, BLOCK: tl.constexpr, D: tl.constexpr
):
    # backwards, so that whoever writes into the next element's rows spoils what is there already
    tile = tl.num_programs(0) - 1 - tl.program_id(0)
    batch = tl.num_programs(1) - 1 - tl.program_id(1)
    values = load(x, batch, tile * BLOCK)
    tl.static_assert(
        len(values.shape) == 2, "load_tile should return a tile (BLOCK, d): drop the dimension of 1"
    )
    rows = (batch * tl.num_programs(0) + tile) * BLOCK + tl.arange(0, BLOCK)
    tl.store(seen_ptr + rows[:, None] * D + tl.arange(0, D)[None, :], values)
    store(y, batch, tile * BLOCK, 2 * values)


def copy(load: Any, store: Any, described: list, seen: Tensor, block: int) -> None:
    """Double x into y, the two ``described``, and show in ``seen`` the tiles that were loaded.

    Raises:
        AssertionError: in words where Triton has none, for a tile stored without its dimension
            of 1; and whatever else a launch raises.
    """
    batch, rows, d = seen.shape
    try:
        copy_kernel[(rows // block, batch)](load, store, *described, seen, block, d)
    except Exception as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        if not isinstance(root, AssertionError) or str(root):
            raise
        raise AssertionError(
            f"desc.store takes a tile of the block's shape, {(1, block, d)}; the one that "
            f"store_tile is given has the shape {(block, d)}. Reshape it first."
        ) from None


@triton.jit
def tile_kernel(
    gradient: tl.constexpr,
    q_ptr,
    k_ptr,
    v_ptr,
    do_ptr,
    lse_ptr,
    delta_ptr,
    p_ptr,
    ds_ptr,
    q_start,
    k_start,
    scale,
    BLOCK: tl.constexpr,
    D: tl.constexpr,
):
    rows, keys = q_start + tl.arange(0, BLOCK), k_start + tl.arange(0, BLOCK)
    at_rows = rows[:, None] * D + tl.arange(0, D)[None, :]
    at_keys = keys[:, None] * D + tl.arange(0, D)[None, :]
    q, do = tl.load(q_ptr + at_rows), tl.load(do_ptr + at_rows)
    k, v = tl.load(k_ptr + at_keys), tl.load(v_ptr + at_keys)
    lse, delta = tl.load(lse_ptr + rows), tl.load(delta_ptr + rows)
    p, ds = gradient(q, k, v, do, lse, delta, rows, keys, scale)
    square = tl.arange(0, BLOCK)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    tl.store(p_ptr + square, p)
    tl.store(ds_ptr + square, ds)
