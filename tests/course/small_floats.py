"""What the tests of course/interpreter/ share: the formats, hostile numbers, equality."""

import numpy as np
import pytest
import torch
from torch import Tensor

from course.device import prepare

BF16, E4M3, E5M2 = torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2
SMALL = pytest.mark.parametrize("dtype", [BF16, E4M3, E5M2], ids=["bf16", "e4m3", "e5m2"])
FP8 = pytest.mark.parametrize("dtype", [E4M3, E5M2], ids=["e4m3", "e5m2"])
# compiled kernels are not what these tests are about
interpreted = pytest.mark.skipif(not prepare().interpreted, reason="unproven here: compiled")


def codes(dtype: torch.dtype) -> Tensor:
    """Every value of a format, by its bits."""
    integer = torch.uint8 if dtype.itemsize == 1 else torch.uint16
    every = np.arange(2 ** (8 * dtype.itemsize), dtype=f"uint{8 * dtype.itemsize}")
    return torch.from_numpy(every).view(integer).view(dtype)


def boundaries() -> Tensor:
    """float32: each with bf16's bits, halfway to the next, and one step to either side of both.

    With them every tie, subnormal, overflow, infinity and NaN of every format of 8 or 16 bits.
    """
    upper = np.arange(2**16, dtype=np.uint32) << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return torch.from_numpy((upper[None] | lower[:, None]).ravel().view(np.float32))


def pairs(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """65,536 pairs: all there are of FP8; of bf16 256 numbers with 256, the special ones first."""
    if dtype == BF16:
        special = [0.0, -0.0, 1.0, -1.0, float("inf"), float("-inf"), float("nan"), 1e-40, 3.3e38]
        generator = torch.Generator().manual_seed(0)
        size = torch.randint(-12, 12, (247,), generator=generator)
        values = torch.randn(247, generator=generator) * 2.0**size
        chosen = torch.cat([torch.tensor(special), values]).to(dtype)
    else:
        chosen = codes(dtype)
    i = torch.arange(256)
    return chosen[i.repeat_interleave(256)], chosen[i.repeat(256)]


def normal(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_same(got: Tensor, expected: Tensor) -> None:
    """Bit for bit, zeros' signs included; any NaN is as good as another.

    Raises:
        AssertionError: names the first element that differs.
    """
    assert got.dtype == expected.dtype and got.shape == expected.shape
    a, b = got.float().view(torch.int32), expected.float().view(torch.int32)
    if got.dtype == torch.float64:
        a, b = got.view(torch.int64), expected.view(torch.int64)
    wrong = (a != b) & ~(got.float().isnan() & expected.float().isnan())
    if wrong.any():
        at = int(wrong.flatten().nonzero()[0])
        found, wanted = got.flatten()[at].item(), expected.flatten()[at].item()
        raise AssertionError(f"{int(wrong.sum())} differ; at {at} {found!r} is not {wanted!r}")
