"""Kernels of notebook 06 that are compiled and looked at, and the one around its exercise.

Their launchers are what ``course.compiled`` is asked to compile: tensors first, then numbers.
"""

import importlib

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

_BLOCK = 64


@triton.jit
def _pointers_kernel(x_ptr, y_ptr, rows, stride, D: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    offsets = row[:, None] * stride + tl.arange(0, D)[None, :]
    mask = row[:, None] < rows
    tl.store(y_ptr + offsets, tl.load(x_ptr + offsets, mask=mask), mask=mask)


@triton.jit
def _descriptors_kernel(x, y, BLOCK: tl.constexpr):
    start = tl.program_id(0) * BLOCK
    y.store([start, 0], x.load([start, 0]))


def through_pointers(x: Tensor) -> Tensor:
    """Copy x (rows, d), d a power of two, in tiles of 64 rows."""
    y = torch.empty_like(x)
    grid = (triton.cdiv(len(x), _BLOCK),)
    _pointers_kernel[grid](x, y, len(x), x.stride(0), x.shape[1], _BLOCK)
    return y


def through_descriptors(x: Tensor) -> Tensor:
    """The same through tensor descriptors, made on the host."""
    y = torch.empty_like(x)
    described = [TensorDescriptor.from_tensor(t, [_BLOCK, x.shape[1]]) for t in (x, y)]
    _descriptors_kernel[(triton.cdiv(len(x), _BLOCK),)](*described, _BLOCK)
    return y


@triton.jit
def _exponentials_kernel(s_ptr, p_ptr, scale, B: tl.constexpr, BASE_2: tl.constexpr):
    at = tl.arange(0, B)[:, None] * B + tl.arange(0, B)[None, :]
    s = tl.load(s_ptr + at)
    if BASE_2:
        factor = scale * 1.4426950408889634
        p = tl.exp2(s * factor - (tl.max(s, 1) * factor)[:, None])
    else:
        s = s * scale
        p = tl.exp(s - tl.max(s, 1)[:, None])
    tl.store(p_ptr + at, p)


def exponentials(s: Tensor, base_2: bool) -> Tensor:
    """One tile of unnormalised weights from raw scores s (64, 64), with exp or with exp2."""
    p = torch.empty_like(s)
    _exponentials_kernel[(1,)](s, p, 0.125, len(s), base_2)
    return p


def rung_with_tiles(
    q: Tensor, k: Tensor, v: Tensor, rung: str, BLOCK_Q: int, BLOCK_K: int, warps: int, stages: int
) -> Tensor:
    """A rung of the ladder, causal, with these tiles instead of those of its list."""
    launch = importlib.import_module("attention_ladder.launch")
    return launch.with_tiles(
        rung, q, k, v, True, BLOCK_Q, BLOCK_K, num_warps=warps, num_stages=stages
    )


@triton.jit
def _salted_copy_kernel(x_ptr, y_ptr, n, SALT: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + at, tl.load(x_ptr + at, mask=at < n), mask=at < n)


def salted_copy(x: Tensor, salt: int) -> Tensor:
    """A copy of x (n,); a new ``salt`` is a new kernel, which has to be compiled."""
    y = torch.empty_like(x)
    _salted_copy_kernel[(triton.cdiv(len(x), 4096),)](x, y, len(x), salt, 4096)
    return y


@triton.jit
def _nothing_kernel(x_ptr):
    pass


def nothing(x: Tensor) -> None:
    """Launch a kernel that does nothing: what a launch costs by itself."""
    _nothing_kernel[(1,)](x)


@triton.jit
def tile_kernel(
    tile: tl.constexpr,  # the function under test: a changed function is a changed kernel
    s_ptr,  # (BLOCK_Q, BLOCK_K)
    v_ptr,  # (BLOCK_K, D)
    o_ptr,  # (BLOCK_Q, D)
    lse_ptr,  # (BLOCK_Q,)
    scale,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    D: tl.constexpr,
):
    rows, keys, columns = tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_K), tl.arange(0, D)
    s = tl.load(s_ptr + rows[:, None] * BLOCK_K + keys[None, :])
    v = tl.load(v_ptr + keys[:, None] * D + columns[None, :])
    o, lse = tile(s, v, scale)
    tl.store(o_ptr + rows[:, None] * D + columns[None, :], o)
    tl.store(lse_ptr + rows, lse)
