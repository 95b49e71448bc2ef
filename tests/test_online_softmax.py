"""The worked example: complete, so its tests pass from the start."""

import pytest
import torch

from course.check import assert_matches
from course.oracle.softmax import softmax
from course.testing.inputs import DTYPES, RAGGED, hostile_rows, normal, strided

ONLINE_SOFTMAX = "online_softmax.online_softmax:online_softmax"
APPLY = "online_softmax.online_softmax:OnlineSoftmax.apply"


@pytest.mark.parametrize("d2", [32, *RAGGED])
def test_rows_of_any_length(subject, machine, d2):
    x = hostile_rows(2, 17, d2, machine.device)
    assert_matches("softmax(x)", subject.call(ONLINE_SOFTMAX, x).output, softmax, x)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_dtypes(subject, machine, dtype):
    x = normal(2, 20, 50, dtype=dtype, device=machine.device)
    assert_matches("softmax(x)", subject.call(ONLINE_SOFTMAX, x, 16, 32).output, softmax, x)


def test_strided_input(subject, machine):
    x = strided(hostile_rows(2, 18, 40, machine.device))
    assert_matches("softmax(x)", subject.call(ONLINE_SOFTMAX, x).output, softmax, x)


def test_gradient(subject, machine):
    x = hostile_rows(2, 18, 40, machine.device).requires_grad_()
    dy = normal(2, 18, 40, device=machine.device)

    def gradient(x, dy):
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(softmax(leaf), leaf, dy)[0]

    reply = subject.call(APPLY, x, 16, 16, grad_output=dy)
    assert_matches("dx", reply.gradients[0], gradient, x, dy)


def test_the_kernels_compute(subject, machine):
    x = normal(1, 16, 32, device=machine.device).requires_grad_()
    dy = normal(1, 16, 32, device=machine.device)
    reply = subject.call(APPLY, x, 16, 16, grad_output=dy)
    assert reply.kernels == ["_online_softmax_fwd_kernel"] and reply.torch_ops == []
    assert reply.backward_kernels == ["_online_softmax_bwd_kernel"]
    idle = subject.call(APPLY, x, 16, 16, noop="forward")
    assert not torch.equal(idle.output, reply.output)


@pytest.mark.parametrize(
    ("shape", "blocks", "named"),
    [((4, 4), (16, 16), "x"), ((1, 0, 4), (16, 16), "x"), ((1, 4, 4), (16, 12), "BLOCK_2")],
)
def test_bad_arguments_are_named(subject, machine, shape, blocks, named):
    with pytest.raises(ValueError, match=named):
        subject.call(ONLINE_SOFTMAX, torch.zeros(shape, device=machine.device), *blocks)
