"""Homework 2: FlashAttention-2 in PyTorch."""

import pytest
import torch

from course.check.mistakes import assert_gradients as assert_gradients_match
from course.oracle.attention import log_sum_exp
from course.testing.attention import (
    assert_forward,
    assert_gradients,
    assert_saves_what_it_should,
    inputs,
    large_scores,
    memory_that_grows,
    strided_inputs,
)
from course.testing.inputs import DTYPES

APPLY = "flash_attention.flash_attention:FlashAttentionPytorch.apply"
BACKWARD = "flash_attention.flash_attention:attention_backward_impl"

SHORT = pytest.mark.parametrize("dtype", [DTYPES["fp16"], DTYPES["bf16"]], ids=["fp16", "bf16"])
MASKS = pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])


@pytest.mark.exercise("hw2-1", points=2)
@pytest.mark.parametrize(("seq_q", "seq_k"), [(128, 128), (64, 256)])
def test_forward(subject, machine, seq_q, seq_k):
    Q, K, V, _ = inputs((2,), seq_q, seq_k, 32, machine)
    assert_forward(subject, APPLY, Q, K, V, False)


@pytest.mark.exercise("hw2-1", points=0)
def test_large_scores(subject, machine):
    Q, K, V, _ = large_scores((2,), 64, 128, 32, machine)
    assert_forward(subject, APPLY, Q, K, V, False)


@pytest.mark.exercise("hw2-1", points=0)
def test_scores_are_made_tile_by_tile(subject, machine):
    peaks = {}
    for n in (256, 512):
        Q, K, V, _ = inputs((1,), n, n, 16, machine)
        peaks[n] = subject.call(APPLY, Q, K, V, False).peak_bytes
    grown, square = peaks[512] - peaks[256], 4 * (512**2 - 256**2)
    assert grown < square / 2, (
        f"the forward pass holds {grown:,} bytes more at 512 positions than at 256; a matrix of "
        f"all scores would be {square:,} more. It is meant to be made one tile at a time"
    )


@pytest.mark.exercise("hw2-5", points=0)
@SHORT
def test_forward_16_bit(subject, machine, dtype):
    Q, K, V, _ = inputs((2,), 128, 128, 32, machine, dtype)
    reply = assert_forward(subject, APPLY, Q, K, V, False)
    assert_saves_what_it_should(reply, Q, K, V, False)


@pytest.mark.exercise("hw2-5", points=0)
@SHORT
def test_gradients_16_bit(subject, machine, dtype):
    assert_gradients(subject, APPLY, *inputs((2,), 70, 70, 16, machine, dtype), True)


@pytest.mark.exercise("hw2-2", points=1)
@pytest.mark.parametrize(("seq_q", "seq_k"), [(128, 128), (64, 256), (256, 64)])
def test_causal(subject, machine, seq_q, seq_k):
    Q, K, V, _ = inputs((2,), seq_q, seq_k, 16, machine)
    assert_forward(subject, APPLY, Q, K, V, True)


@pytest.mark.exercise("hw2-2", points=0)
def test_large_hidden_scores(subject, machine):
    Q, K, V, _ = large_scores((2,), 128, 128, 16, machine)
    assert_forward(subject, APPLY, Q, K, V, True)


@pytest.mark.exercise("hw2-3", points=1)
@MASKS
def test_what_is_saved(subject, machine, causal):
    Q, K, V, _ = inputs((2,), 128, 64, 16, machine)
    reply = assert_forward(subject, APPLY, Q, K, V, causal)
    assert_saves_what_it_should(reply, Q, K, V, causal)


@pytest.mark.exercise("hw2-4", points=1)
@MASKS
def test_gradients_from_exact_inputs(subject, machine, causal):
    Q, K, V, dO = (t.detach().double() for t in inputs((2,), 64, 128, 16, machine))
    O = torch.nn.functional.scaled_dot_product_attention(Q, K, V, is_causal=causal)
    L = log_sum_exp(Q, K, causal)
    reply = subject.call(BACKWARD, Q, K, V, L, O, dO, 4.0, causal)
    assert len(reply.outputs) == 3, "expected dQ, dK, dV and None"
    assert_gradients_match(reply.outputs, Q, K, V, dO, causal, L.abs().max().item())


@pytest.mark.exercise("hw2-4", points=1)
@MASKS
def test_gradients(subject, machine, causal):
    assert_gradients(subject, APPLY, *inputs((2,), 128, 128, 32, machine), causal)


@pytest.mark.exercise("hw2-4", points=0)
@MASKS
def test_gradients_of_large_scores(subject, machine, causal):
    assert_gradients(subject, APPLY, *large_scores((1,), 64, 64, 16, machine), causal)


@pytest.mark.exercise("hw2-4", points=0)
def test_gradcheck(subject, machine):
    Q, K, V, _ = (t.detach().double() for t in inputs((1,), 64, 64, 2, machine))
    assert subject.gradcheck(APPLY, *(t.requires_grad_() for t in (Q, K, V)), True)


@pytest.mark.exercise("hw2-5", points=1)
@MASKS
@pytest.mark.parametrize(
    ("lead", "seq_q", "seq_k", "d"),
    [
        ((2,), 1, 1, 16),
        ((1,), 63, 100, 24),
        ((1,), 100, 63, 16),
        ((2, 3), 70, 70, 16),
        ((1,), 40, 70, 256),
    ],
)
def test_any_length_and_heads(subject, machine, lead, seq_q, seq_k, d, causal):
    Q, K, V, dO = inputs(lead, seq_q, seq_k, d, machine)
    reply = assert_gradients(subject, APPLY, Q, K, V, dO, causal)
    assert_saves_what_it_should(reply, Q, K, V, causal)


@pytest.mark.exercise("hw2-5", points=0)
def test_length_1000(subject, machine):
    assert_gradients(subject, APPLY, *inputs((1,), 1000, 1000, 16, machine), True)


@pytest.mark.exercise("hw2-5", points=0)
def test_strided_inputs(subject, machine):
    assert_gradients(subject, APPLY, *strided_inputs(machine), False)


@pytest.mark.exercise("hw2-6", points=1)
def test_memory_grows_with_n(subject, machine):
    replies = {}
    for n in (128, 256, 512):
        Q, K, V, dO = inputs((1,), n, n, 16, machine)
        replies[n] = subject.call(APPLY, Q, K, V, True, grad_output=dO)
    forward = {n: r.peak_bytes for n, r in replies.items()}
    backward = {n: r.backward_peak_bytes for n, r in replies.items()}
    words = (memory_that_grows(forward, "forward"), memory_that_grows(backward, "backward"))
    assert not any(words), "; ".join(filter(None, words))


@pytest.mark.exercise("hw2-6", points=0)
def test_torch_compile(subject, machine):
    assert_gradients(subject, APPLY, *inputs((1,), 64, 64, 16, machine), True, compiled=True)


@pytest.mark.parametrize(
    ("Q", "K", "V", "named"),
    [
        ((4, 8), (4, 8), (4, 8), "Q: "),
        ((1, 4, 8), (1, 4, 16), (1, 4, 8), "K: "),
        ((1, 4, 8), (1, 4, 8), (1, 5, 8), "V: "),
        ((2, 4, 8), (1, 4, 8), (1, 4, 8), "K: "),
        ((1, 4, 300), (1, 4, 300), (1, 4, 300), "Q: .*256"),
    ],
)
def test_bad_shapes_are_named(subject, machine, Q, K, V, named):
    with pytest.raises(ValueError, match=named):
        subject.call(APPLY, *(torch.zeros(s, device=machine.device) for s in (Q, K, V)))


def test_bad_dtypes_and_devices_are_named(subject, machine):
    Q = torch.zeros(1, 4, 16, device=machine.device)
    with pytest.raises(ValueError, match="V: expected the dtype of Q"):
        subject.call(APPLY, Q, Q, Q.half())
    with pytest.raises(ValueError, match=r"K: expected the device of Q, .*, got meta"):
        subject.call(APPLY, Q, Q.to("meta"), Q)
    with pytest.raises(ValueError, match=r"Q: expected one of .*got torch.int64"):
        subject.call(APPLY, *[Q.long()] * 3)
