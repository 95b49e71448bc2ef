"""The instructor's fast softmax and softmax @ V: as right as the readable ones, on any input."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from course import compiled
from course.check import assert_matches
from course.compiled import Case
from course.oracle.softmax import softmax, softmax_matmul
from course.process import ROOT
from course.subject import Child
from course.testing.inputs import DTYPES, hostile_rows, normal, strided

SOLUTIONS = ROOT / "solutions"
SOFTMAX = "online_softmax.fast:fast_softmax"
MATMUL = "softmax_matmul.fast:fast_softmax_matmul"


@pytest.fixture(scope="module")
def fast() -> Iterator[Child]:
    """The solutions, whichever tree the other tests look at."""
    subject = Child(SOLUTIONS)
    yield subject
    subject.close()


def gradient(x: Tensor, dy: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    return torch.autograd.grad(softmax(leaf), leaf, dy)[0]


def special_rows(n: int, device: str) -> Tensor:
    """-inf at the start of a row, in the middle, everywhere but once, and a row all equal."""
    x = normal(1, 5, n, device=device)
    x[0, 0, : n // 2] = float("-inf")
    x[0, 1, n // 3 : n // 2 + 1] = float("-inf")
    x[0, 2, :-1] = float("-inf")
    x[0, 3] = 3.0
    x[0, 4, 0] = 1e30
    return x


@pytest.mark.parametrize(
    ("shape", "kernels"),
    [
        ((2, 17, 1), ["_one_pass_kernel"]),
        ((2, 17, 63), ["_one_pass_kernel"]),
        ((5, 1000), ["_one_pass_kernel"]),
        ((1, 2, 3, 8192), ["_one_pass_kernel"]),
        ((32_768,), ["_one_pass_kernel"]),
        ((32_769,), ["_shared_row_kernel"]),
        ((3, 40_960), ["_shared_row_kernel"]),
    ],
    ids=str,
)
def test_softmax_of_rows_of_any_length(fast, machine, shape, kernels):
    # interpreted, a row of several programs takes two launches
    if kernels == ["_shared_row_kernel"] and machine.interpreted:
        kernels = kernels * 2
    rows = torch.Size(shape[:-1]).numel()
    x = hostile_rows(1, rows, shape[-1], machine.device).reshape(shape)
    reply = fast.call(SOFTMAX, x)
    assert_matches("softmax(x)", reply.output, softmax, x)
    assert reply.kernels == kernels and reply.torch_ops == []


def test_the_largest_number_may_come_after_128_chunks(fast, machine):
    x = normal(1_050_000, device=machine.device)
    x[-1] = 14.0  # about half of the sum
    assert_matches("softmax(x)", fast.call(SOFTMAX, x).output, softmax, x)


@pytest.mark.needs(tier="run")
@pytest.mark.parametrize("n", [40_000, 262_145, 10_000_000])
def test_programs_that_wait_for_each_other_agree_on_every_bit(fast, machine, n):
    x = hostile_rows(1, 40, n, machine.device)[0]
    first = fast.call(SOFTMAX, x)
    assert_matches("softmax(x)", first.output, softmax, x)
    # more chunks than any GPU has multiprocessors
    assert len(first.kernels) == (2 if n == 10_000_000 else 1)
    for _ in range(20):
        assert torch.equal(fast.call(SOFTMAX, x).output, first.output)


@pytest.mark.parametrize("n", [3, 1000, 33_000])
def test_softmax_of_special_rows(fast, machine, n):
    x = special_rows(n, machine.device)
    assert_matches("softmax(x)", fast.call(SOFTMAX, x).output, softmax, x)


@pytest.mark.parametrize("n", [100, 33_000])
def test_a_softmax_pytorch_calls_nan_is_nan(fast, machine, n):
    x = normal(3, n, device=machine.device)
    x[0], x[1, 7], x[2, 8] = float("-inf"), float("inf"), float("nan")
    assert torch.equal(fast.call(SOFTMAX, x).output.isnan(), softmax(x).isnan())


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("n", [50, 33_000])
def test_softmax_dtypes(fast, machine, dtype, n):
    x = normal(3, 2, n, dtype=dtype, device=machine.device)
    assert_matches("softmax(x)", fast.call(SOFTMAX, x).output, softmax, x)


@pytest.mark.parametrize("n", [40, 33_000])
def test_softmax_of_strided_rows(fast, machine, n):
    x = strided(hostile_rows(2, 3, n, machine.device))
    assert_matches("softmax(x)", fast.call(SOFTMAX, x).output, softmax, x)


@pytest.mark.parametrize("n", [1, 63, 1000, 17_000])
def test_softmax_gradient(fast, machine, n):
    x = hostile_rows(2, 3, n, machine.device).requires_grad_()
    dy = normal(2, 3, n, device=machine.device)
    reply = fast.call(SOFTMAX, x, grad_output=dy)
    assert_matches("dx", reply.gradients[0], gradient, x, dy)
    expanded = normal(1, 1, 1, device=machine.device).expand(2, 3, n)
    reply = fast.call(SOFTMAX, x, grad_output=expanded)
    assert_matches("dx", reply.gradients[0], gradient, x, expanded)


def test_softmax_says_what_is_wrong(fast, machine):
    for shape, dtype in (((3, 0), torch.float32), ((), torch.float32), ((3, 4), torch.float64)):
        with pytest.raises(ValueError, match="x: "):
            fast.call(SOFTMAX, torch.zeros(shape, dtype=dtype, device=machine.device))


@pytest.mark.parametrize(
    ("batch", "d1", "d2", "d3"),
    [(1, 1, 1, 1), (2, 63, 63, 63), (1, 17, 1000, 20), (2, 130, 70, 300), (1, 256, 64, 512)],
)
@pytest.mark.parametrize(("precision", "eps"), [("highest", None), ("high", 2**-10)])
def test_softmax_matmul_of_any_length(fast, machine, batch, d1, d2, d3, precision, eps):
    x = hostile_rows(batch, d1, d2, machine.device)
    V = normal(batch, d2, d3, device=machine.device)
    reply = fast.call(MATMUL, x, V, matmul_precision=precision)
    assert_matches("out", reply.output, softmax_matmul, x, V, eps=eps)
    assert reply.kernels == ["_fast_softmax_matmul_kernel"] and reply.torch_ops == []
    assert reply.peak_bytes == reply.output.numel() * reply.output.element_size()


def test_softmax_matmul_of_special_rows(fast, machine):
    x = special_rows(1000, machine.device)
    V = normal(1, 1000, 40, device=machine.device)
    assert_matches("out", fast.call(MATMUL, x, V).output, softmax_matmul, x, V)


def test_softmax_matmul_of_views(fast, machine):
    x, V = hostile_rows(2, 18, 40, machine.device), normal(2, 40, 20, device=machine.device)
    out = fast.call(MATMUL, strided(x), strided(V)).output
    assert_matches("out", out, softmax_matmul, x, V)
    # a stride that 32-bit offsets of a tile could not span
    far = torch.empty(1, device=machine.device).as_strided((1, 1, 1), (1, 2**23, 1)).fill_(1.0)
    reply = fast.call(MATMUL, far, normal(1, 1, 4, device=machine.device))
    assert reply.kernels == ["fused_softmax_kernel"]


@pytest.mark.parametrize("dtype", [DTYPES["fp16"], DTYPES["bf16"]], ids=["fp16", "bf16"])
def test_softmax_matmul_dtypes(fast, machine, dtype):
    x = normal(2, 33, 70, dtype=dtype, device=machine.device)
    V = normal(2, 70, 40, dtype=dtype, device=machine.device)
    assert_matches("out", fast.call(MATMUL, x, V).output, softmax_matmul, x, V)


def test_without_the_kernel_nothing_is_computed(fast, machine):
    x, V = normal(1, 20, 30, device=machine.device), normal(1, 30, 20, device=machine.device)
    for target, inputs in ((SOFTMAX, (x,)), (MATMUL, (x, V))):
        idle = fast.call(target, *inputs, noop="both").output
        assert not torch.equal(idle, fast.call(target, *inputs).output)


BIG = ((2, 256, 8192), (2, 8192, 512))
CASES = (
    *(Case("fast softmax", SOFTMAX, ((64, n),), "float32") for n in (128, 8192, 32_768, 65_536)),
    Case("fast softmax", SOFTMAX, ((64, 131_072),), "bfloat16"),
    Case("fast softmax", SOFTMAX, ((2, 2**21),), "float32"),  # two launches
    Case("fast softmax", SOFTMAX, ((64, 8192),), "float32", backward=True),
    *(Case("fast matmul", MATMUL, BIG, dtype) for dtype in ("float32", "tf32", "bfloat16")),
)


@pytest.mark.parametrize("arch", [80, 90])
def test_what_was_chosen_fits_the_registers(arch):
    rows = compiled.compile_all(SOLUTIONS, [arch], CASES)
    assert {(row.op, row.dtype, row.head_dim) for row in rows} == {
        (case.op, case.dtype, case.shapes[0][-1]) for case in CASES
    }
    for row in rows:
        # triton 3.6 keeps 4 registers a thread in memory for TF32 on Hopper, 3.7 none
        few = 16 if (row.dtype, row.arch) == ("tf32", 90) else 0
        assert not row.problem and row.spill_bytes <= few, f"{row.where}: {row.verdict}"
        if row.kernel == "_fast_softmax_matmul_kernel":
            assert row.tensor_cores == {80: "mma", 90: "wgmma"}[arch], row.verdict


def test_other_chips_run_the_readable_kernel():
    rows = compiled.compile_all(SOLUTIONS, [75], [Case("fast matmul", MATMUL, BIG, "float32")])
    assert {row.kernel for row in rows} == {"fused_softmax_kernel"}
