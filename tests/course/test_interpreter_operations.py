"""Interpreted arithmetic in bf16 and FP8: PyTorch's in float32, rounded once an operation."""

import pytest
import torch
import triton
import triton.language as tl
from small_floats import BF16, E4M3, E5M2, FP8, SMALL, assert_same, interpreted, normal, pairs
from torch import Tensor

from course.check import assert_close_to_exact

pytestmark = [interpreted, pytest.mark.filterwarnings("ignore::RuntimeWarning")]


@triton.jit
def binary_kernel(x_ptr, y_ptr, out_ptr, NAME: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    x, y = tl.load(x_ptr + i), tl.load(y_ptr + i)
    if NAME == "add":
        out = x + y
    elif NAME == "sub":
        out = x - y
    elif NAME == "mul":
        out = x * y
    elif NAME == "div":
        out = x / y
    elif NAME == "maximum":
        out = tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)
    elif NAME == "minimum":
        out = tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)
    elif NAME == "fma":
        out = tl.fma(x, y, x)
    elif NAME == "where":
        out = tl.where(i % 3 == 0, x, y)
    elif NAME == "lt":
        out = tl.where(x < y, 1.0, 0.0)
    elif NAME == "le":
        out = tl.where(x <= y, 1.0, 0.0)
    elif NAME == "eq":
        out = tl.where(x == y, 1.0, 0.0)
    elif NAME == "ne":
        out = tl.where((x != y) & ~(x > y), 1.0, 0.0)
    tl.store(out_ptr + i, out)


BINARY = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "fma": lambda x, y: (x.double() * y.double() + x.double()).float(),
    "where": lambda x, y: torch.where(torch.arange(len(x)) % 3 == 0, x, y),
    "lt": lambda x, y: (x < y).float(),
    "le": lambda x, y: (x <= y).float(),
    "eq": lambda x, y: (x == y).float(),
    "ne": lambda x, y: ((x != y) & ~(x > y)).float(),
}


@SMALL
@pytest.mark.parametrize("name", BINARY)
def test_two_operands(dtype: torch.dtype, name: str) -> None:
    x, y = pairs(dtype)
    out = torch.zeros_like(x)
    binary_kernel[(1,)](x, y, out, name, x.numel())
    # unlike 0 and -0, which of two equal numbers is the larger is nobody's business
    plus = 0.0 if name in ("maximum", "minimum") else -0.0
    expected = BINARY[name](x.float(), y.float()).to(dtype)
    assert_same((out.float() + plus).to(dtype), (expected.float() + plus).to(dtype))


@triton.jit
def unary_kernel(x_ptr, out_ptr, NAME: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    if NAME == "neg":
        out = -x
    elif NAME == "abs":
        out = tl.abs(x)
    elif NAME == "scalars":
        out = 1.1 - x * 2.7
    elif NAME == "integers":
        out = 3 * x + 1
    elif NAME == "full":
        out = x + tl.full((N,), 1.3, x.dtype)
    elif NAME == "zeros":
        out = x + tl.zeros((N,), x.dtype)
    elif NAME == "float32":
        out = x.to(tl.float32) + 0.1
    elif NAME == "clamp":
        out = tl.clamp(x, -0.3, 0.7)
    elif NAME == "cumsum":
        out = tl.cumsum(x.to(tl.float32), 0)
    elif NAME == "sort":
        out = tl.sort(x)
    elif NAME == "exp2":
        out = tl.exp2(x.to(tl.float32))
    elif NAME == "broadcast":
        out = tl.sum(x[:, None] + x[None, :], 1)
    elif NAME == "reshape":
        out = tl.reshape(tl.trans(tl.reshape(x, (N // 8, 8))), (N,))
    elif NAME == "join":
        a, b = tl.split(tl.reshape(x, (N // 2, 2)))
        out = tl.interleave(b, a)
    tl.store(out_ptr + i, out)


def broadcast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return (x[:, None] + x[None, :]).to(dtype).float().sum(1)


def unary(name: str, x: Tensor, dtype: torch.dtype) -> Tensor:
    """In float32, with every intermediate result and every constant rounded."""

    def rounded(value: float | Tensor) -> Tensor:
        return torch.as_tensor(value).to(dtype).float()

    return {
        "neg": lambda: -x,
        "abs": lambda: x.abs(),
        "scalars": lambda: rounded(1.1) - rounded(x * rounded(2.7)),
        "integers": lambda: rounded(3 * x) + 1,
        "full": lambda: x + rounded(1.3),
        "zeros": lambda: x,
        "float32": lambda: x + 0.1,
        "clamp": lambda: x.clamp(rounded(-0.3), rounded(0.7)),
        "cumsum": lambda: x.cumsum(0),
        "sort": lambda: x.sort().values,
        "exp2": lambda: x.exp2(),
        "broadcast": lambda: broadcast(x, dtype),
        "reshape": lambda: x.view(-1, 8).T.flatten(),
        "join": lambda: x.view(-1, 2).flip(1).flatten(),
    }[name]()


UNARY = "neg abs scalars integers full zeros float32 clamp cumsum sort exp2 broadcast reshape join"


@SMALL
@pytest.mark.parametrize("name", UNARY.split())
def test_one_operand_and_constants(dtype: torch.dtype, name: str) -> None:
    x = normal(64, dtype=dtype)
    out = torch.zeros_like(x)
    unary_kernel[(1,)](x, out, name, 64)
    assert_same(out, unary(name, x.float(), dtype).to(dtype))


@triton.jit
def largest(a, b):
    return tl.where(a > b, a, b)


@triton.jit
def reduce_kernel(
    x_ptr, out_ptr, NAME: tl.constexpr, AXIS: tl.constexpr, M: tl.constexpr, N: tl.constexpr
):
    x = tl.load(x_ptr + tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :])
    if NAME == "sum":
        out = tl.sum(x, AXIS)
    elif NAME == "max":
        out = tl.max(x, AXIS)
    elif NAME == "min":
        out = tl.min(x, AXIS)
    elif NAME == "argmax":
        out = tl.argmax(x, AXIS)
    elif NAME == "argmin":
        out = tl.argmin(x, AXIS)
    elif NAME == "reduce":
        out = tl.reduce(x, AXIS, largest)
    elif NAME == "scan":
        out = tl.max(tl.associative_scan(x, AXIS, largest), AXIS)
    tl.store(out_ptr + tl.arange(0, N if AXIS == 0 else M), out)


@SMALL
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["sum", "max", "min", "argmax", "argmin", "reduce", "scan"])
def test_reductions_and_scans(dtype: torch.dtype, axis: int, name: str) -> None:
    # of FP8 so few values that ties would decide which index is found
    x = (torch.randperm(8 * 16) - 60.0).view(8, 16) if dtype == BF16 else None
    x = normal(8, 16, dtype=dtype) if x is None or name in ("sum", "max") else x.to(dtype)
    out = torch.zeros(x.shape[1 - axis], dtype=torch.int32 if "arg" in name else dtype)
    reduce_kernel[(1,)](x, out, name, axis, *x.shape)
    if name == "sum":
        assert_same(out, x.float().sum(axis).to(dtype))
    elif name in ("max", "reduce", "scan"):
        assert_same(out, x.float().amax(axis).to(dtype))
    elif name == "min":
        assert_same(out, x.float().amin(axis).to(dtype))
    else:
        at = out.long().unsqueeze(axis)
        best = x.float().amax(axis) if name == "argmax" else x.float().amin(axis)
        assert torch.equal(x.float().gather(axis, at).squeeze(axis), best)


@triton.jit
def dot_kernel(
    a_ptr, b_ptr, c_ptr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, ACC: tl.constexpr
):
    m, n, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    a = tl.load(a_ptr + m[:, None] * K + k[None, :])
    b = tl.load(b_ptr + k[:, None] * N + n[None, :])
    if ACC:
        acc = tl.full((M, N), 0.5, tl.float32)
        c = tl.dot(a, b, acc)
    else:
        c = tl.dot(a, b, out_dtype=c_ptr.dtype.element_ty)
    tl.store(c_ptr + m[:, None] * N + n[None, :], c)


@pytest.mark.parametrize("acc", [False, True], ids=["", "acc"])
@pytest.mark.parametrize(
    ("left", "right"),
    [(BF16, BF16), (E4M3, E4M3), (E5M2, E5M2), (E4M3, E5M2), (E5M2, E4M3)],
    ids=["bf16", "e4m3", "e5m2", "e4m3-e5m2", "e5m2-e4m3"],
)
def test_dot_adds_in_float32(left: torch.dtype, right: torch.dtype, acc: bool) -> None:
    a, b = normal(32, 64, dtype=left), normal(64, 16, dtype=right, seed=1)
    c = torch.zeros(32, 16)
    dot_kernel[(1,)](a, b, c, 32, 16, 64, acc)
    exact = a.double() @ b.double() + 0.5 * acc
    own = a.float() @ b.float() + 0.5 * acc
    assert_close_to_exact("c", c, exact, own, exact.abs().max().item(), 2.0**-24)


@FP8
def test_dot_of_fp8_to_float16(dtype: torch.dtype) -> None:
    a, b = normal(16, 32, dtype=dtype), normal(32, 16, dtype=dtype, seed=1)
    c = torch.zeros(16, 16, dtype=torch.float16)
    dot_kernel[(1,)](a, b, c, 16, 16, 32, False)
    # products of these are sums of few bits: exact in float32, in whatever order
    assert torch.equal(c, (a.double() @ b.double()).half())


@triton.jit
def exp_kernel(x_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(x_ptr + i, tl.exp(tl.load(x_ptr + i)))


@SMALL
def test_exp_wants_float32_as_it_does_on_a_gpu(dtype: torch.dtype) -> None:
    with pytest.raises(Exception) as caught:
        exp_kernel[(1,)](normal(16, dtype=dtype), 16)
    assert "Expected dtype ['fp32', 'fp64']" in str(caught.value)


@triton.jit
def mixed_kernel(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out_ptr + i, tl.load(x_ptr + i) * tl.load(y_ptr + i))


@pytest.mark.parametrize(
    ("other", "result"),
    [
        (torch.float32, torch.float32),
        (torch.float16, torch.float16),
        (torch.float64, torch.float64),
        (torch.int32, BF16),
    ],
    ids=["float32", "float16", "float64", "int32"],
)
def test_bf16_beside_other_types(other: torch.dtype, result: torch.dtype) -> None:
    """Of bf16 and float16 Triton makes float16."""
    x, y = normal(64, dtype=BF16), (normal(64, dtype=torch.float32, seed=1) * 10).to(other)
    out = torch.zeros(64, dtype=result)
    mixed_kernel[(1,)](x, y, out, 64)
    both = torch.float32 if result == BF16 else result
    expected = (x.to(result).to(both) * y.to(result).to(both)).to(result)
    assert_same(out, expected)
