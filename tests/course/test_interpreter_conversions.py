"""Interpreted conversions of bf16 and FP8: every value, every rounding boundary."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from small_floats import BF16, E4M3, E5M2, FP8, SMALL, assert_same, boundaries, codes, interpreted
from torch import Tensor

pytestmark = interpreted
CHUNK = 2**16
OTHERS = [torch.float16, torch.float32, torch.float64, BF16, E4M3, E5M2]


@triton.jit
def convert_kernel(x_ptr, y_ptr, n, TOWARDS_ZERO: tl.constexpr, CHUNK: tl.constexpr):
    i = tl.program_id(0) * CHUNK + tl.arange(0, CHUNK)
    x = tl.load(x_ptr + i, mask=i < n)
    if TOWARDS_ZERO:
        y = x.to(y_ptr.dtype.element_ty, fp_downcast_rounding="rtz")
    else:
        y = x.to(y_ptr.dtype.element_ty)
    tl.store(y_ptr + i, y, mask=i < n)


@triton.jit
def bitcast_kernel(x_ptr, y_ptr, CHUNK: tl.constexpr):
    i = tl.arange(0, CHUNK)
    tl.store(y_ptr + i, tl.load(x_ptr + i).to(y_ptr.dtype.element_ty, bitcast=True))


def converted(x: Tensor, dtype: torch.dtype, towards_zero: bool = False) -> Tensor:
    y = torch.zeros(x.shape, dtype=dtype)
    convert_kernel[(triton.cdiv(x.numel(), CHUNK),)](x, y, x.numel(), towards_zero, CHUNK)
    return y


@SMALL
def test_float32_is_rounded_as_pytorch_does_it(dtype: torch.dtype) -> None:
    assert_same(converted(boundaries(), dtype), boundaries().to(dtype))


@SMALL
def test_float32_is_rounded_to_the_nearest_even(dtype: torch.dtype) -> None:
    """The same without PyTorch's casts: by search among all values, in float64."""
    values = codes(dtype).double().numpy()
    at = np.flatnonzero(np.isfinite(values) & ~(np.signbit(values) & (values == 0)))
    at = at[np.argsort(values[at])]
    values = values[at]
    x = boundaries()
    x = x[x.abs() <= values[-1]]
    exact = x.double().numpy()
    above = np.searchsorted(values, exact)
    below = np.maximum(above - (values[above] != exact), 0)
    down, up = exact - values[below], values[above] - exact
    # neighbours' codes differ in the last bit, but for the smallest number below zero
    nearest = np.where((down < up) | ((down == up) & (at[below] % 2 == 0)), below, above)
    expected = torch.from_numpy(values[nearest]).abs().to(dtype)
    assert_same(converted(x, dtype).float().abs().to(dtype), expected)


@SMALL
@pytest.mark.parametrize("target", OTHERS, ids=str)
def test_every_value_becomes_what_pytorch_makes_of_it(
    dtype: torch.dtype, target: torch.dtype
) -> None:
    assert_same(converted(codes(dtype), target), codes(dtype).to(target))


@SMALL
def test_every_float16_becomes_what_pytorch_makes_of_it(dtype: torch.dtype) -> None:
    half = codes(torch.float16)
    assert_same(converted(half, dtype), half.to(dtype))


@SMALL
def test_float64_is_rounded_as_pytorch_does_it(dtype: torch.dtype) -> None:
    x = torch.randn(4096, dtype=torch.float64) * 100
    assert_same(converted(x, dtype), x.to(dtype))


@pytest.mark.parametrize("integer", [torch.int8, torch.uint8, torch.int32, torch.int64], ids=str)
def test_integers_become_bf16_and_bf16_integers(integer: torch.dtype) -> None:
    x = torch.arange(-70_000, 70_000, 7).to(integer)
    assert_same(converted(x, BF16), x.to(BF16))
    low = 0 if integer == torch.uint8 else -120
    y = torch.linspace(low, 120, 999).to(BF16)
    assert torch.equal(converted(y, integer), y.to(integer))


@pytest.mark.parametrize("dtype", [BF16, E5M2], ids=["bf16", "e5m2"])
def test_towards_zero(dtype: torch.dtype) -> None:
    x = boundaries()
    x = x[~x.isnan()]
    got = converted(x, dtype, towards_zero=True)
    steps = codes(dtype)
    largest = steps.float()[steps.float().isfinite()].max()
    finite = x.isfinite()
    assert (got.float().abs() <= x.abs()).all() and (got.float().signbit() == x.signbit()).all()
    assert (got.float()[~finite].isinf()).all() and (got.float()[finite].abs() <= largest).all()
    # the next number up in magnitude has the next code
    integer = torch.uint8 if dtype.itemsize == 1 else torch.int16
    after = (got.view(integer)[finite] + 1).view(dtype).float().abs()
    inside = x.abs()[finite] < largest
    assert (after > x.abs()[finite])[inside].all()


def test_what_fp8_cannot_hold_is_as_in_pytorch() -> None:
    """A GPU clips to 448 and 57344. PyTorch clips to 448 from 2.13 on, and gave NaN before."""
    x = torch.tensor([464.0, 465.0, 1e9, float("inf"), float("-inf"), float("nan")])
    got = converted(x, E4M3)
    assert got[0].item() == 448 and got[-1].isnan()
    assert_same(got, x.to(E4M3))
    x = torch.tensor([57344.0, 61439.0, 61440.0, float("inf")])
    assert converted(x, E5M2).tolist() == [57344, 57344, float("inf"), float("inf")]


@SMALL
def test_a_copy_keeps_every_bit(dtype: torch.dtype) -> None:
    """Not-a-numbers too: one format alone has 254 of them."""
    integer = torch.uint8 if dtype.itemsize == 1 else torch.int16
    assert torch.equal(converted(codes(dtype), dtype).view(integer), codes(dtype).view(integer))


@SMALL
def test_bitcasts_keep_every_bit(dtype: torch.dtype) -> None:
    every = codes(dtype)
    for integer in (torch.uint8, torch.int8) if dtype.itemsize == 1 else (torch.int16,):
        bits = torch.zeros(every.shape, dtype=integer)
        bitcast_kernel[(1,)](every, bits, every.numel())
        assert torch.equal(bits, every.view(integer))
        back = torch.zeros(every.shape, dtype=dtype)
        bitcast_kernel[(1,)](bits, back, every.numel())
        assert torch.equal(back.view(integer), every.view(integer))


@FP8
def test_fp8_does_not_convert_to_integers_as_for_a_gpu(dtype: torch.dtype) -> None:
    with pytest.raises(Exception) as caught:
        converted(codes(dtype), torch.int32)
    assert "cannot cast" in str(caught.value)
