"""Homework 1: softmax(x) @ V in one kernel."""

import pytest
import torch

from course.check import assert_matches, mistakes
from course.check.case import case
from course.oracle.softmax import softmax_matmul
from course.testing.inputs import DTYPES, RAGGED, hostile_rows, normal, strided

FUSED = "softmax_matmul.softmax_matmul:fused_softmax"
REFERENCE = "softmax_matmul.softmax_matmul:softmax_mult"


def assert_product(subject, x, V, block_1=16, block_2=16, kind="rows far below zero"):
    reply = subject.call(FUSED, x, V, block_1, block_2)
    d1, d2, d3 = (*x.shape[1:], V.shape[2])
    with case(f"d1={d1}, d2={d2}, d3={d3}, BLOCK {block_1} x {block_2}, {kind}"):
        mistakes.assert_product("out", reply.output, x, V)
    return reply


def test_the_reference_is_given(subject, machine):
    x, V = normal(2, 5, 7, device=machine.device), normal(2, 7, 3, device=machine.device)
    assert_matches("softmax_mult(x, V)", subject.call(REFERENCE, x, V).output, softmax_matmul, x, V)


@pytest.mark.exercise("hw1-1", points=1)
@pytest.mark.parametrize(("block_1", "block_2"), [(16, 16), (32, 64)])
def test_divisible_lengths(subject, machine, block_1, block_2):
    x = hostile_rows(2, 64, 128, machine.device)
    V = normal(2, 128, 32, device=machine.device)
    assert_product(subject, x, V, block_1, block_2)


@pytest.mark.exercise("hw1-1", points=1)
def test_one_kernel_does_all_the_work(subject, machine):
    x = normal(1, 32, 64, device=machine.device)
    V = normal(1, 64, 16, device=machine.device)
    reply = subject.call(FUSED, x, V)
    assert reply.kernels == ["fused_softmax_kernel"], (
        f"expected one launch of fused_softmax_kernel, saw {reply.kernels}"
    )
    assert not reply.torch_ops, f"PyTorch computed {reply.torch_ops}: that is the kernel's work"
    if machine.interpreted:
        assert reply.loads[0] == x.numel(), (
            f"x has {x.numel()} elements, and {reply.loads[0]} were loaded; one pass loads each "
            "of them once"
        )
    idle = subject.call(FUSED, x, V, noop="both").output
    assert not torch.equal(idle, reply.output), "without the kernel the output is the same"
    size = reply.output.numel() * reply.output.element_size()
    assert reply.peak_bytes == size, (
        f"{reply.peak_bytes} bytes were allocated; the output alone, {size} bytes, is enough"
    )


@pytest.mark.exercise("hw1-2", points=1, after="hw1-1")
@pytest.mark.parametrize(
    ("d1", "d2", "d3", "block"),
    [(1, 1, 1, 16), (63, 63, 63, 16), (17, 1000, 20, 64), (5, 40, 130, 16)],
)
def test_any_length(subject, machine, d1, d2, d3, block):
    x = hostile_rows(2, d1, d2, machine.device)
    V = normal(2, d2, d3, device=machine.device)
    assert_product(subject, x, V, 16, block)


@pytest.mark.exercise("hw1-2", points=0, after="hw1-1")
@pytest.mark.parametrize("d1", RAGGED)
def test_any_number_of_rows(subject, machine, d1):
    x, V = hostile_rows(1, d1, 24, machine.device), normal(1, 24, 16, device=machine.device)
    assert_product(subject, x, V, 64, 16)


@pytest.mark.exercise("hw1-3", points=1, after="hw1-1")
def test_strided_inputs(subject, machine):
    x = strided(hostile_rows(2, 18, 40, machine.device))
    V = strided(normal(2, 40, 20, device=machine.device))
    reply = assert_product(subject, x, V, kind="x and V views with strides")
    size = reply.output.numel() * reply.output.element_size()
    assert reply.peak_bytes == size, (
        f"{reply.peak_bytes} bytes were allocated for views with strides; the output alone, {size} "
        "bytes, is enough. Are the inputs copied?"
    )


@pytest.mark.exercise("hw1-3", points=0, after="hw1-1")
@pytest.mark.parametrize("dtype", [DTYPES["fp16"], DTYPES["bf16"]], ids=["fp16", "bf16"])
def test_16_bit(subject, machine, dtype):
    x = normal(2, 32, 64, dtype=dtype, device=machine.device)
    V = normal(2, 64, 32, dtype=dtype, device=machine.device)
    assert_product(subject, x, V, kind=str(dtype))


@pytest.mark.exercise("hw1-3", points=0, after="hw1-1")
@pytest.mark.parametrize("dtype", [DTYPES["fp16"], DTYPES["bf16"]], ids=["fp16", "bf16"])
def test_running_values_are_float32(subject, machine, dtype):
    # one weight of 1, then many that 16 bits would round away or up beside it
    x = torch.full((1, 16, 2048), -8.5, dtype=dtype, device=machine.device)
    x[..., 0] = 0.0
    V = (1 + normal(1, 2048, 16, device=machine.device) / 4).to(dtype)
    assert_product(subject, x, V, kind=f"{dtype}, one large weight and many small ones")


@pytest.mark.exercise("hw1-3", points=0, after="hw1-1")
@pytest.mark.needs(tier="run")
def test_tf32_where_pytorch_uses_it(subject, machine):
    x = normal(2, 64, 128, device=machine.device)
    V = normal(2, 128, 64, device=machine.device)
    out = subject.call(FUSED, x, V, matmul_precision="high").output
    assert_matches("out", out, softmax_matmul, x, V, eps=2**-10)


@pytest.mark.parametrize(
    ("x", "V", "block", "named"),
    [
        ((4, 4), (4, 4), 16, "x: "),
        ((1, 4, 4), (1, 5, 4), 16, "V: "),
        ((2, 4, 4), (1, 4, 4), 16, "V: "),
        ((1, 0, 4), (1, 4, 4), 16, "x: "),
        ((1, 4, 4), (1, 4, 4), 24, "BLOCK_1: "),
    ],
)
def test_bad_arguments_are_named(subject, machine, x, V, block, named):
    with pytest.raises(ValueError, match=named):
        subject.call(FUSED, *(torch.zeros(s, device=machine.device) for s in (x, V)), block)


def test_bad_dtypes_and_devices_are_named(subject, machine):
    x = torch.zeros((1, 4, 4), device=machine.device)
    with pytest.raises(ValueError, match="V: expected the dtype of x"):
        subject.call(FUSED, x, x.half())
    with pytest.raises(ValueError, match=r"V: expected the device of x, .*, got meta"):
        subject.call(FUSED, x, x.to("meta"))


@pytest.mark.needs(tier="run")
def test_a_tensor_a_compiled_kernel_cannot_read_is_named(subject):
    x = torch.zeros(1, 4, 4)
    with pytest.raises(ValueError, match="x: kernels are compiled here"):
        subject.call(FUSED, x, x)
