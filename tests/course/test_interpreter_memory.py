"""Interpreted bf16 and FP8 in memory: masks, padding, scalars, descriptors, atomics."""

import pytest
import torch
import triton
import triton.language as tl
from small_floats import BF16, E4M3, SMALL, assert_same, codes, interpreted, normal
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

pytestmark = interpreted


@triton.jit
def masked_kernel(x_ptr, y_ptr, n, OTHER: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    if OTHER is None:
        x = tl.load(x_ptr + i, mask=i < n)
    else:
        x = tl.load(x_ptr + i, mask=i < n, other=OTHER)
    tl.store(y_ptr + 2 * i, x, mask=i < N - 2)


@SMALL
@pytest.mark.parametrize("other", [None, 0.0, -1.3, float("nan"), float("-inf")])
def test_masks_and_padding(dtype: torch.dtype, other: float | None) -> None:
    x = normal(16, dtype=dtype)
    y = torch.full((34,), 7.0).to(dtype)
    masked_kernel[(1,)](x, y, 9, other, 16)
    expected = torch.full((34,), 7.0)
    expected[:28:2] = torch.cat([x.float()[:9], torch.full((5,), other or 0.0)])
    assert_same(y, expected.to(dtype))


@triton.jit
def scalar_kernel(x_ptr, y_ptr):
    i = tl.program_id(0)
    tl.store(y_ptr + i, tl.load(x_ptr + i) + tl.load(x_ptr))


@SMALL
def test_scalars(dtype: torch.dtype) -> None:
    x = normal(8, dtype=dtype)
    y = torch.zeros_like(x)
    scalar_kernel[(8,)](x, y)
    assert_same(y, (x.float() + x[0].float()).to(dtype))


@SMALL
def test_strided_views_and_what_lies_between(dtype: torch.dtype) -> None:
    wide = normal(64, dtype=dtype)
    before = wide.clone()
    masked_kernel[(1,)](wide[8:], wide[24:], 16, None, 16)
    expected = before.float()
    expected[24:52:2] = before.float()[8:22]
    assert_same(wide, expected.to(dtype))


@triton.jit
def device_descriptor_kernel(x_ptr, y_ptr, M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    x = tl.make_tensor_descriptor(x_ptr, [M, N], [N, 1], [BLOCK_M, BLOCK_N])
    y = tl.make_tensor_descriptor(y_ptr, [M, N], [N, 1], [BLOCK_M, BLOCK_N])
    row, col = tl.program_id(0) * BLOCK_M, tl.program_id(1) * BLOCK_N
    tile = x.load([row, col])
    y.store([row, col], tile + tile)


@triton.jit
def host_descriptor_kernel(x, y, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    row, col = tl.program_id(0) * BLOCK_M, tl.program_id(1) * BLOCK_N
    y.store([row, col], x.load([row, col]))


@SMALL
def test_descriptors_made_in_the_kernel(dtype: torch.dtype) -> None:
    x = normal(20, 48, dtype=dtype)
    y = torch.zeros_like(x)
    device_descriptor_kernel[(3, 2)](x, y, 20, 48, 8, 32)
    assert_same(y, (2 * x.float()).to(dtype))


@SMALL
@pytest.mark.parametrize("padding", ["zero", "nan"])
def test_descriptors_made_outside(dtype: torch.dtype, padding: str) -> None:
    x = normal(5, 32, dtype=dtype)
    y = torch.ones(8, 32).to(dtype)
    source = TensorDescriptor(x, [5, 32], [32, 1], [8, 32], padding)
    host_descriptor_kernel[(1, 1)](source, TensorDescriptor.from_tensor(y, [8, 32]), 8, 32)
    assert_same(y[:5], x)
    rest = y[5:].float()
    assert rest.isnan().all() if padding == "nan" else (rest == 0).all()


@triton.jit
def gather_kernel(x_ptr, y_ptr, rows_ptr, M, N: tl.constexpr):
    x = tl.make_tensor_descriptor(x_ptr, [M, N], [N, 1], [1, N])
    y = tl.make_tensor_descriptor(y_ptr, [M, N], [N, 1], [1, N])
    rows = tl.load(rows_ptr + tl.arange(0, 8))
    y.scatter(x.gather(rows, 0), rows, 0)


@SMALL
def test_descriptors_gather_and_scatter(dtype: torch.dtype) -> None:
    x = normal(32, 32, dtype=dtype)
    y = torch.zeros_like(x)
    rows = torch.tensor([3, 30, 1, 17, 8, 9, 0, 31], dtype=torch.int32)
    gather_kernel[(1,)](x, y, rows, 32, 32)
    expected = torch.zeros(32, 32)
    expected[rows.long()] = x.float()[rows.long()]
    assert_same(y, expected.to(dtype))


@triton.jit
def atomic_descriptor_kernel(desc, value, BLOCK: tl.constexpr, NAME: tl.constexpr):
    x = tl.full((BLOCK, BLOCK), value, desc.dtype)
    if NAME == "add":
        desc.atomic_add([tl.program_id(0) * BLOCK, 0], x)
    elif NAME == "max":
        desc.atomic_max([0, 0], x)
    elif NAME == "min":
        desc.atomic_min([0, 0], x)
    elif NAME == "xor":
        desc.atomic_xor([0, 0], x)


@pytest.mark.parametrize("dtype", [BF16, torch.float16, torch.float32, torch.int32], ids=str)
def test_descriptors_add_inside_their_bounds(dtype: torch.dtype) -> None:
    x = (normal(24, 16, dtype=torch.float32) * 4).to(dtype)
    rest = x[20:].clone()
    before = x[:20].clone().float()
    desc = TensorDescriptor(x, [20, 16], [16, 1], [16, 16])
    atomic_descriptor_kernel[(2,)](desc, 3, 16, "add")
    assert_same(x[:20], (before + 3).to(dtype))
    assert torch.equal(x[20:], rest)


@pytest.mark.parametrize("name", ["max", "min", "xor"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint32], ids=str)
def test_descriptors_reduce_integers(dtype: torch.dtype, name: str) -> None:
    x = torch.arange(256).view(16, 16)
    # a large unsigned number is a negative one to who takes it for signed
    x[0] = 2**31 + 5 if dtype == torch.uint32 else -5
    stored = x.to(dtype)
    atomic_descriptor_kernel[(1,)](TensorDescriptor.from_tensor(stored, [16, 16]), 100, 16, name)
    of = {"max": x.clamp(min=100), "min": x.clamp(max=100), "xor": x ^ 100}
    assert torch.equal(stored.long(), of[name])


@triton.jit
def atomic_add_kernel(out_ptr, old_ptr, at_ptr, x_ptr, n, N: tl.constexpr):
    i = tl.arange(0, N)
    at, x = tl.load(at_ptr + i), tl.load(x_ptr + i)
    old = tl.atomic_add(out_ptr + at, x, mask=i < n)
    tl.store(old_ptr + i, old, mask=i < n)


def test_atomic_addition_to_bf16_one_by_one() -> None:
    """Several elements share an address: each addition is rounded, and sees those before it."""
    out, x = normal(4, dtype=BF16), normal(64, dtype=BF16, seed=1)
    at = torch.randint(0, 4, (64,), generator=torch.Generator().manual_seed(2), dtype=torch.int32)
    expected, expected_old = out.clone(), torch.zeros(64, dtype=BF16)
    for i in range(50):
        expected_old[i] = expected[at[i]]
        expected[at[i]] += x[i]
    old = torch.zeros(64, dtype=BF16)
    atomic_add_kernel[(1,)](out, old, at, x, 50, 64)
    assert_same(out, expected)
    assert_same(old, expected_old)


@triton.jit
def ones_kernel(out_ptr):
    tl.atomic_add(out_ptr, 1.0)


def test_ones_added_to_bf16_stop_at_256() -> None:
    out = torch.zeros(1, dtype=BF16)
    ones_kernel[(300,)](out)
    assert out.item() == 256


@triton.jit
def swap_kernel(x_ptr, expected_ptr, new_ptr, old_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    old = tl.atomic_cas(x_ptr + i, tl.load(expected_ptr + i), tl.load(new_ptr + i))
    tl.store(old_ptr + i, old)


def test_compare_and_swap() -> None:
    x, new = normal(16, dtype=BF16), normal(16, dtype=BF16, seed=1)
    expected, old, before = x.clone(), torch.zeros_like(x), x.clone()
    expected[::2] += 1
    swap_kernel[(1,)](x, expected, new, old, 16)
    assert_same(old, before)
    assert_same(x[::2], before[::2])
    assert_same(x[1::2], new[1::2])


@triton.jit
def scaled_kernel(a_ptr, sa_ptr, b_ptr, sb_ptr, c_ptr, FORMAT: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, N), tl.arange(0, 2)
    a = tl.load(a_ptr + i[:, None] * N + i[None, :])
    b = tl.load(b_ptr + i[:, None] * N + i[None, :])
    sa = tl.load(sa_ptr + i[:, None] * 2 + j[None, :])
    sb = tl.load(sb_ptr + i[:, None] * 2 + j[None, :])
    c = tl.dot_scaled(a, sa, FORMAT, b, sb, FORMAT)
    tl.store(c_ptr + i[:, None] * N + i[None, :], c)


def scaled_product(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    a, b = normal(64, 64, dtype=dtype), normal(64, 64, dtype=dtype, seed=1)
    sa, sb = (
        torch.randint(120, 134, (64, 2), generator=torch.Generator().manual_seed(s)).to(torch.uint8)
        for s in (2, 3)
    )
    c = torch.zeros(64, 64)
    name = {BF16: "bf16", E4M3: "e4m3"}.get(dtype, "e5m2")
    scaled_kernel[(1,)](a, sa, b, sb, c, name, 64)
    left = a.double() * 2.0 ** (sa.double() - 127).repeat_interleave(32, 1)
    right = b.double() * 2.0 ** (sb.double() - 127).repeat_interleave(32, 1).T
    return c.double(), left @ right


VERSION = tuple(map(int, triton.__version__.split(".")[:2]))


@SMALL
def test_scaled_products(dtype: torch.dtype) -> None:
    """From triton 3.8 on; before that there are none."""
    if VERSION < (3, 8):
        with pytest.raises(Exception, match="has no attribute"):
            scaled_product(dtype)
        return
    got, exact = scaled_product(dtype)
    assert (got - exact).abs().max() <= 1e-6 * exact.abs().max()


@triton.jit
def copy_kernel(x_ptr, y_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(y_ptr + i, tl.load(x_ptr + i))


@pytest.mark.parametrize("other", [torch.float8_e4m3fnuz, torch.float8_e5m2fnuz], ids=str)
def test_other_formats_are_refused(other: torch.dtype) -> None:
    with pytest.raises(Exception) as caught:
        copy_kernel[(1,)](codes(E4M3).view(torch.uint8).view(other), torch.zeros(256), 256)
    assert "cannot be interpreted" in str(caught.value) or "fail to convert" in str(caught.value)


@triton.jit
def b15_kernel(x_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(x_ptr + i, tl.load(x_ptr + i).to(tl.float8e4b15).to(tl.float32))


def test_fp8e4b15_is_refused() -> None:
    with pytest.raises(Exception) as caught:
        b15_kernel[(1,)](torch.ones(16), 16)
    assert "kernels with fp8e4b15 cannot be interpreted" in str(caught.value)
