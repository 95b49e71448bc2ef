# course: instructor
"""Softmax of rows too long for one program: several share a row, and still read it once.

A program keeps ``CHUNK`` numbers of a row in its registers, publishes their maximum and sum of
exponentials, waits until all the programs of the row, its gang, have published, combines what they
did in a fixed order (so every run gives the same bits), and writes.

Why the wait ends. A program learns which chunk is its own from a ticket it takes when it starts, so
tickets are given out in order to programs that run, whatever the order the hardware starts them in.
A gang whose tickets are all taken runs in full, waits for nobody else, and ends. So programs of one
launch wait in vain in one gang alone, the last begun: at most parts - 1 of them, and the next to
start joins it. It starts if the GPU holds parts programs at once. ``parts`` is at most the number
of multiprocessors, and each of those has room for five programs of 128 threads of 96 registers (it
has 65536, from sm_70 on): even five launches at once, in streams of any priority, leave a place
free.

Rows longer than that are done in two launches, which publish and write, and read x twice. So are
interpreted ones: there programs run one after another, and the first would wait for ever.
"""

from functools import lru_cache

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from triton.runtime import driver

from online_softmax.fast_rows import LOG2E

CHUNK = 8192  # numbers a program holds
TICKETS = tl.constexpr(32)  # the ticket counter has a cache line to itself

# finite, so that chunks of -inf alone do not compute inf - inf
LOWEST = tl.constexpr(-3.4028234663852886e38)


@triton.jit
def _shared_row_kernel(
    x_ptr,  # (rows, n)
    y_ptr,  # (rows, n), contiguous
    m_ptr,  # (rows, parts), largest value of each chunk
    l_ptr,  # (rows, parts), sum of exponentials relative to it
    counters_ptr,  # tickets taken; from TICKETS on, chunks published of each row; zeros at first
    stride_xr,  # elements
    stride_xn,
    n,
    parts,
    PUBLISH: tl.constexpr,
    WRITE: tl.constexpr,  # both: the programs of a row wait for each other
    PARTS: tl.constexpr,  # published chunks looked at together
    CHUNK: tl.constexpr,
):
    ticket = tl.atomic_add(counters_ptr, 1) if PUBLISH and WRITE else tl.program_id(0)
    row = (ticket // parts).to(tl.int64)
    first = (ticket % parts).to(tl.int64) * CHUNK
    cols = tl.arange(0, CHUNK)
    mask = cols < tl.minimum(n - first, CHUNK).to(tl.int32)
    x_chunk = x_ptr + row * stride_xr + first * stride_xn + cols.to(tl.int64) * stride_xn
    x = tl.load(x_chunk, mask=mask, other=float("-inf")).to(tl.float32)
    m = tl.maximum(tl.max(x, 0), LOWEST)
    e = tl.exp2((x - m) * LOG2E)

    if PUBLISH:
        tl.store(m_ptr + ticket, m)
        tl.store(l_ptr + ticket, tl.sum(e, 0))
    if PUBLISH and WRITE:
        published = counters_ptr + TICKETS + row
        tl.atomic_add(published, 1, sem="release")
        while tl.atomic_add(published, 0, sem="acquire") < parts:
            pass
    if WRITE:
        m_row = LOWEST
        l_row = 0.0
        for start in range(0, parts, PARTS):
            part = start + tl.arange(0, PARTS)
            at = row * parts + part
            # volatile: others have just written it
            ms = tl.load(m_ptr + at, mask=part < parts, other=LOWEST, volatile=True)
            ls = tl.load(l_ptr + at, mask=part < parts, other=0.0, volatile=True)
            m_new = tl.maximum(m_row, tl.max(ms, 0))
            l_row = l_row * tl.exp2((m_row - m_new) * LOG2E)
            l_row += tl.sum(ls * tl.exp2((ms - m_new) * LOG2E), 0)
            m_row = m_new
        y = e * (tl.exp2((m - m_row) * LOG2E) / l_row)
        tl.store(y_ptr + row * n + first + cols, y, mask=mask)


def shared_rows(x: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    """Softmax of each row, any length and strides.

    Allocates the output, two numbers for each ``CHUNK`` of a row, and a counter a row.
    """
    rows, n = x.shape
    y = torch.empty((rows, n), dtype=x.dtype, device=x.device)
    parts = triton.cdiv(n, CHUNK)
    m, l = torch.empty((2, rows, parts), dtype=torch.float32, device=x.device)
    counters = torch.zeros(TICKETS.value + rows, dtype=torch.int32, device=x.device)
    together = parts <= _multiprocessors(x.device)
    for publish, write in [(True, True)] if together else [(True, False), (False, True)]:
        _shared_row_kernel[(rows * parts,)](
            x, y, m, l, counters, *x.stride(), n, parts, PUBLISH=publish, WRITE=write,
            PARTS=min(128, triton.next_power_of_2(parts)), CHUNK=CHUNK, num_warps=4, maxnreg=96,
        )  # fmt: skip
    return y


@lru_cache
def _multiprocessors(device: torch.device) -> int:
    """How many the GPU has; none where kernels are interpreted. Asking takes a millisecond."""
    if triton.knobs.runtime.interpret:
        return 0
    return driver.active.utils.get_device_properties(device.index)["multiprocessor_count"]
