# course: given
"""Reading and writing one tile of a (batch, seq, d) tensor, and what a kernel needs for it.

A tile comes through a tensor descriptor (TMA on Hopper and later, plain loads elsewhere) or, for
inputs a descriptor cannot describe, through masked pointers; the kernels are the same.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

# scores (batch * seq_q * seq_k) times bytes an element from which computing takes longer than
# launching the kernels: descriptors and tuned tiles pay only then
HEAVY = 2**27
_INTERPRETED = triton.knobs.runtime.interpret  # a kernel is, or is not, from its definition on
L2_BYTES = 32 << 20  # what a group of batch entries may take: half of an H200's, an A100's 40 MB


@triton.jit
def load_tile(
    x,  # tensor descriptor of (batch, seq, d), or pointer
    batch,
    start,
    stride_b,  # elements
    stride_n,
    stride_d,
    seq,
    d,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,  # power of two >= d
    DESCRIPTORS: tl.constexpr,
):
    """Rows start to start + BLOCK of one batch entry, (BLOCK, BLOCK_D); 0 outside the tensor."""
    if DESCRIPTORS:
        # three dimensions, so that a tile at the end does not run into the next batch entry
        tile = x.load([batch, start, 0]).reshape(BLOCK, BLOCK_D)
    else:
        rows = start + tl.arange(0, BLOCK)
        cols = tl.arange(0, BLOCK_D)
        x_batch = x + batch.to(tl.int64) * stride_b
        offsets = rows[:, None].to(tl.int64) * stride_n + cols[None, :] * stride_d
        tile = tl.load(
            x_batch + offsets, mask=(rows[:, None] < seq) & (cols[None, :] < d), other=0.0
        )
    return tile


@triton.jit
def store_tile(
    x_ptr,  # (batch, seq, d), contiguous
    tile,  # (BLOCK, BLOCK_D)
    batch,
    start,
    seq,
    d,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Writes the part of a tile that lies inside the tensor.

    Takes no strides, so the tensor must be contiguous: one from ``torch.empty(Q.shape, ...)`` is,
    one from ``torch.empty_like(Q)`` has the strides of Q.
    """
    rows = start + tl.arange(0, BLOCK)
    cols = tl.arange(0, BLOCK_D)
    offsets = (batch.to(tl.int64) * seq + rows[:, None]) * d + cols[None, :]
    mask = (rows[:, None] < seq) & (cols[None, :] < d)
    tl.store(x_ptr + offsets, tile.to(x_ptr.dtype.element_ty), mask=mask)


@triton.jit
def place(pid, tiles, batches, group):
    """Which tile, counted from the heaviest, of which batch entry the program works on.

    A group of batch entries is finished before the next begins, so that what its programs read
    again and again stays in the L2 cache; inside it the heaviest tiles of all entries come first.
    """
    first = pid // (group * tiles) * group
    size = min(batches - first, group)
    within = pid % (group * tiles)
    return within // size, first + within % size


def describable(*tensors: Tensor) -> bool:
    """Whether descriptors can read them: last dimension dense, the rest in steps of 16 bytes."""
    if tensors[0].is_cuda and torch.cuda.get_device_capability(tensors[0].device) < (9, 0):
        # without TMA a descriptor's loads are not pipelined, and their addresses fill registers
        return False
    return all(
        t.stride(-1) == 1
        and t.data_ptr() % 16 == 0
        and all(s > 0 and s * t.element_size() % 16 == 0 for s in t.stride()[:-1])
        for t in tensors
    )


def tile_arguments(**tensors: Tensor) -> dict[str, Any]:
    """What :func:`load_tile` and :func:`place` need of these (batch, seq, d) tensors.

    Each tensor, or a descriptor of it, and its strides in elements, under the names kernels give
    them; DESCRIPTORS, BLOCK_D, PRECISION; batches, and group: how many of them fit the L2 cache.
    """
    # a copy costs less than to read rows with gaps number by number, again and again
    tensors = {name: _without_gaps(t) for name, t in tensors.items()}
    q, k = tensors["q"], tensors["k"]
    BLOCK_D = max(16, triton.next_power_of_2(q.shape[-1]))
    heavy = not q.is_cuda or is_heavy(q, q.shape[0] * q.shape[1] * k.shape[1])
    descriptors = heavy and describable(*tensors.values())
    parts = in_parts(*tensors.values())
    if parts and BLOCK_D > 64:
        # the parts of such a tile would be kept in registers, and ptxas would wait for every wgmma;
        # the parts of one read through pointers go to shared memory
        descriptors = False
    # two tensors of each batch entry are read by all its programs
    rows = 2 * max(t.shape[1] for t in tensors.values())
    arguments: dict[str, Any] = {
        "DESCRIPTORS": descriptors,
        "BLOCK_D": BLOCK_D,
        "PRECISION": "bf16x6" if parts else precision(q),
        "batches": q.shape[0],
        "group": max(1, L2_BYTES // (rows * BLOCK_D * q.element_size())),
    }
    for name, t in tensors.items():
        shape, steps = list(t.shape), list(t.stride())
        # set_block_shapes() in configurations.py fills in the rows of a tile
        arguments[name] = TensorDescriptor(t, shape, steps, [1, 16, BLOCK_D]) if descriptors else t
        arguments |= {f"stride_{name}{dim}": s for dim, s in zip("bnd", steps, strict=True)}
    return arguments


def _without_gaps(t: Tensor) -> Tensor:
    return t.contiguous() if t.is_cuda and t.stride(-1) != 1 else t


def is_heavy(t: Tensor, scores: int) -> bool:
    """Whether attention with so many scores in all is worth descriptors and tuned tiles."""
    return scores * t.element_size() >= HEAVY


def precision(t: Tensor) -> str:
    """How ``tl.dot`` multiplies float32: TF32 only where PyTorch may use it too."""
    if torch.get_float32_matmul_precision() != "highest":
        return "tf32"
    # three TF32 products keep float32's accuracy and, from sm_80 on, run on tensor cores
    cores = t.is_cuda and torch.cuda.get_device_capability(t.device) >= (8, 0)
    return "tf32x3" if cores else "ieee"


def in_parts(*tensors: Tensor) -> bool:
    """Whether to multiply float32 as six products of its three bfloat16 parts, on Hopper.

    They are as exact as three of TF32, and take as long; but wgmma takes a tile of bfloat16 as it
    lies, and one of TF32 only with the summed dimension contiguous: V in P V, and half of the
    tiles of the backward pass, lie the other way. Wants the tiles of configurations.py, and rows
    that are read 16 bytes at a time: others were not checked, and where the last dimension of Q had
    a stride, dK or dV came out wrong (Triton 3.6 on an H200).
    """
    t = tensors[0]
    if t.dtype != torch.float32 or torch.get_float32_matmul_precision() != "highest":
        return False
    hopper = t.is_cuda and not _INTERPRETED and torch.cuda.get_device_capability(t.device)[0] == 9
    # Triton knows that an address is a multiple of 16 bytes if strides are multiples of 16 numbers
    return hopper and all(
        t.data_ptr() % 16 == 0 and t.stride(-1) == 1 and not any(s % 16 for s in t.stride()[:-1])
        for t in tensors
    )
