"""Homework 3: FlashAttention-2 in Triton; the backward kernels are the bonus."""

import pytest
import torch

from course.check import assert_close_to_exact, assert_matches, mistakes
from course.oracle.attention import attention, attention_gradients, log_sum_exp
from course.testing.attention import (
    assert_forward,
    assert_gradients,
    assert_linear_memory,
    assert_saves_what_it_should,
    condition,
    inputs,
    large_scores,
    strided_inputs,
    views,
)
from course.testing.inputs import DTYPES, normal

APPLY = "flash_attention.flash_attention:FlashAttentionTriton.apply"
DELTA = "flash_attention.flash_backward:compute_delta"
DQ = "flash_attention.flash_backward_dq:backward_dq"
DKDV = "flash_attention.flash_backward_dkdv:backward_dkdv"

MASKS = pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
DTYPE = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
HALF_TOO = pytest.mark.parametrize("dtype", [DTYPES["fp32"], DTYPES["fp16"]], ids=["fp32", "fp16"])
SHORT = pytest.mark.parametrize("dtype", [DTYPES["fp16"], DTYPES["bf16"]], ids=["fp16", "bf16"])


@pytest.mark.exercise("hw3-1", points=1)
@pytest.mark.parametrize(("seq_q", "seq_k"), [(128, 128), (64, 256)])
def test_forward(subject, machine, seq_q, seq_k):
    Q, K, V, _ = inputs((2,), seq_q, seq_k, 32, machine)
    assert_forward(subject, APPLY, Q, K, V, False)


@pytest.mark.exercise("hw3-1", points=0)
def test_large_scores(subject, machine):
    Q, K, V, _ = large_scores((1,), 64, 128, 32, machine)
    assert_forward(subject, APPLY, Q, K, V, False)


@pytest.mark.exercise("hw3-1", points=1)
def test_the_kernel_computes(subject, machine):
    Q, K, V, _ = inputs((1,), 64, 64, 16, machine)
    reply = subject.call(APPLY, Q, K, V, True)
    assert "flash_fwd_kernel" in reply.kernels, f"flash_fwd_kernel never ran; saw {reply.kernels}"
    assert not reply.torch_ops, f"PyTorch computed {reply.torch_ops}: that is the kernel's work"
    idle = subject.call(APPLY, Q, K, V, True, noop="both").output
    assert not torch.equal(idle, reply.output), "without the kernel the output is the same"


@pytest.mark.exercise("hw3-1", points=0)
@DTYPE
@pytest.mark.parametrize("d", [16, 64])
def test_head_dims_and_dtypes(subject, machine, d, dtype):
    Q, K, V, _ = inputs((1,), 64, 64, d, machine, dtype)
    assert_forward(subject, APPLY, Q, K, V, False)


@pytest.mark.exercise("hw3-2", points=1)
@pytest.mark.parametrize(("seq_q", "seq_k"), [(128, 128), (64, 256), (256, 64)])
def test_causal(subject, machine, seq_q, seq_k):
    Q, K, V, _ = inputs((2,), seq_q, seq_k, 16, machine)
    assert_forward(subject, APPLY, Q, K, V, True)


@pytest.mark.exercise("hw3-2", points=0)
def test_tiles_beyond_the_diagonal_are_never_visited(subject, machine):
    Q, K, V, _ = (t.detach() for t in inputs((1,), 64, 512, 16, machine))
    K[:, 256:] = V[:, 256:] = float("nan")
    out = subject.call(APPLY, Q, K, V, True).output
    assert not out.isnan().any(), (
        "keys 256 and later are NaN and no query sees them, yet the output is NaN: "
        "tiles beyond the diagonal were computed and masked instead of never visited"
    )
    assert_matches("O", out, lambda *a: attention(*a, True), Q, K[:, :256], V[:, :256])


@pytest.mark.exercise("hw3-2", points=0)
def test_large_hidden_scores(subject, machine):
    Q, K, V, _ = large_scores((1,), 128, 128, 16, machine)
    assert_forward(subject, APPLY, Q, K, V, True)


@pytest.mark.exercise("hw3-3", points=1)
@MASKS
def test_autograd(subject, machine, causal):
    Q, K, V, dO = inputs((2,), 128, 64, 16, machine)
    # a wrong L would make the gradients wrong, and they would be blamed
    assert_saves_what_it_should(assert_forward(subject, APPLY, Q, K, V, causal), Q, K, V, causal)
    assert_gradients(subject, APPLY, Q, K, V, dO, causal)


@pytest.mark.exercise("hw3-4", points=0)
def test_what_is_saved_16_bit(subject, machine):
    Q, K, V, _ = inputs((2,), 64, 64, 16, machine, DTYPES["fp16"])
    assert_saves_what_it_should(assert_forward(subject, APPLY, Q, K, V, True), Q, K, V, True)


@pytest.mark.exercise("hw3-4", points=1)
@MASKS
@pytest.mark.parametrize(
    ("lead", "seq_q", "seq_k", "d"),
    [((2,), 1, 1, 16), ((1,), 63, 100, 24), ((1,), 100, 63, 16), ((1, 2), 70, 70, 16)],
)
def test_any_length_and_heads(subject, machine, lead, seq_q, seq_k, d, causal):
    Q, K, V, dO = inputs(lead, seq_q, seq_k, d, machine)
    reply = assert_gradients(subject, APPLY, Q, K, V, dO, causal)
    assert_saves_what_it_should(reply, Q, K, V, causal)


@pytest.mark.exercise("hw3-4", points=0)
@DTYPE
def test_wide_heads(subject, machine, dtype):
    Q, K, V, _ = inputs((1,), 64, 64, 256, machine, dtype)
    assert_forward(subject, APPLY, Q, K, V, False)


@pytest.mark.exercise("hw3-4", points=0)
def test_length_1000(subject, machine):
    Q, K, V, _ = inputs((1,), 1000, 1000, 16, machine)
    assert_forward(subject, APPLY, Q, K, V, True)


@pytest.mark.exercise("hw3-4", points=0)
def test_strided_inputs(subject, machine):
    assert_gradients(subject, APPLY, *strided_inputs(machine), False)


@pytest.mark.exercise("hw3-5", points=1)
def test_memory_grows_with_n(subject, machine):
    peaks = {}
    for n in (64, 128, 256):
        Q, K, V, _ = inputs((1,), n, n, 16, machine)
        peaks[n] = subject.call(APPLY, Q, K, V, True).peak_bytes
    assert_linear_memory(peaks, "forward")


@pytest.mark.exercise("hw3-5", points=0)
def test_torch_compile(subject, machine):
    assert_gradients(subject, APPLY, *inputs((1,), 64, 64, 16, machine), True, compiled=True)


@pytest.mark.exercise("hw3-7", points=1)
@pytest.mark.parametrize(("rows", "d"), [(64, 16), (63, 24)])
def test_delta(subject, machine, rows, d):
    O, dO = (normal(2, rows, d, seed=s, device=machine.device) for s in (0, 1))
    reply = subject.call(DELTA, O, dO)
    assert_matches("delta", reply.output, lambda o, do: (o * do).sum(-1), O, dO)
    assert_kernels_compute(reply, subject, DELTA, O, dO)


@pytest.mark.exercise("hw3-8", points=1)
@MASKS
@pytest.mark.parametrize(("seq_q", "seq_k"), [(128, 64), (63, 100)])
def test_dq_kernel(subject, machine, seq_q, seq_k, causal):
    arguments, exact, own = backward_case(seq_q, seq_k, machine, causal)
    reply = subject.call(DQ, *arguments)
    assert_group({"dQ": reply.output}, exact, own, arguments, causal)
    assert_kernels_compute(reply, subject, DQ, *arguments)


@pytest.mark.exercise("hw3-8", points=0)
@MASKS
@SHORT
def test_dq_16_bit(subject, machine, dtype, causal):
    arguments, exact, own = backward_case(64, 64, machine, causal, dtype)
    assert_group({"dQ": subject.call(DQ, *arguments).output}, exact, own, arguments, causal)


@pytest.mark.exercise("hw3-8", points=0)
@HALF_TOO
def test_dq_strided(subject, machine, dtype):
    (Q, K, V, *rest), exact, own = backward_case(63, 100, machine, False, dtype)
    arguments = (*views(Q, K, V), *rest)
    assert_group({"dQ": subject.call(DQ, *arguments).output}, exact, own, arguments, False)


@pytest.mark.exercise("hw3-9", points=2)
@MASKS
@pytest.mark.parametrize(("seq_q", "seq_k"), [(128, 64), (63, 100)])
def test_dkdv_kernel(subject, machine, seq_q, seq_k, causal):
    arguments, exact, own = backward_case(seq_q, seq_k, machine, causal)
    reply = subject.call(DKDV, *arguments)
    assert len(reply.outputs) == 2, "expected dK and dV"
    got = dict(zip(("dK", "dV"), reply.outputs, strict=True))
    assert_group(got, exact, own, arguments, causal)
    assert_kernels_compute(reply, subject, DKDV, *arguments)


@pytest.mark.exercise("hw3-9", points=0)
@MASKS
@SHORT
def test_dkdv_16_bit(subject, machine, dtype, causal):
    arguments, exact, own = backward_case(64, 64, machine, causal, dtype)
    got = dict(zip(("dK", "dV"), subject.call(DKDV, *arguments).outputs, strict=True))
    assert_group(got, exact, own, arguments, causal)


@pytest.mark.exercise("hw3-9", points=0)
@HALF_TOO
def test_dkdv_strided(subject, machine, dtype):
    (Q, K, V, *rest), exact, own = backward_case(63, 100, machine, False, dtype)
    arguments = (*views(Q, K, V), *rest)
    got = dict(zip(("dK", "dV"), subject.call(DKDV, *arguments).outputs, strict=True))
    assert_group(got, exact, own, arguments, False)


@pytest.mark.exercise("hw3-9", points=0)
@MASKS
def test_gradients_of_large_scores(subject, machine, causal):
    assert_gradients(subject, APPLY, *large_scores((1,), 64, 64, 16, machine), causal)


@pytest.mark.exercise("hw3-9", points=0)
@MASKS
def test_the_whole_backward(subject, machine, causal):
    Q, K, V, dO = inputs((2,), 128, 128, 32, machine)
    reply = assert_gradients(subject, APPLY, Q, K, V, dO, causal)
    assert reply.backward_kernels, "no Triton kernel ran in the backward pass"


@pytest.mark.exercise("hw3-9", points=0)
def test_backward_memory_grows_with_n(subject, machine):
    peaks = {}
    for n in (64, 128, 256):
        Q, K, V, dO = inputs((1,), n, n, 16, machine)
        peaks[n] = subject.call(APPLY, Q, K, V, True, grad_output=dO).backward_peak_bytes
    assert_linear_memory(peaks, "backward")


@pytest.mark.exercise("hw3-9", points=0)
@pytest.mark.needs(tier="run")
@MASKS
@DTYPE
@pytest.mark.parametrize(
    ("batch", "seq", "d"),
    [(32, 2048, 64), (128, 1024, 128), (112, 1100, 80), (56, 1100, 100), (128, 1024, 256)],
)
def test_tuned_sizes(subject, machine, batch, seq, d, dtype, causal):
    assert_gradients(subject, APPLY, *inputs((batch,), seq, seq, d, machine, dtype), causal)


@pytest.mark.exercise("hw3-9", points=0)
@pytest.mark.needs(tier="run")
@MASKS
def test_tf32_where_pytorch_uses_it(subject, machine, causal):
    Q, K, V, dO = (t.detach() for t in inputs((2,), 256, 256, 64, machine))
    Q, K = Q * 0.1, K * 0.1
    leaves = [t.requires_grad_() for t in (Q, K, V)]
    reply = subject.call(APPLY, *leaves, causal, grad_output=dO, matmul_precision="high")
    plain = [t.detach() for t in leaves]
    eps = 2**-10
    assert_matches("O", reply.output, lambda *a: attention(*a, causal), *plain, eps=eps)
    gradients = lambda *a: attention_gradients(*a, causal)  # noqa: E731
    assert_matches("dQ dK dV", reply.gradients, gradients, *plain, dO, eps=eps)


@pytest.mark.parametrize(
    ("Q", "K", "V", "named"),
    [
        ((4, 8), (4, 8), (4, 8), "Q: "),
        ((1, 4, 8), (1, 4, 16), (1, 4, 8), "K: "),
        ((1, 4, 8), (1, 4, 8), (1, 5, 8), "V: "),
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
    with pytest.raises(ValueError, match=r"Q: expected one of .*got torch.float64"):
        subject.call(APPLY, *[Q.double()] * 3)


@pytest.mark.needs(tier="run")
def test_a_tensor_a_compiled_kernel_cannot_read_is_named(subject):
    Q = torch.zeros(1, 4, 16)
    with pytest.raises(ValueError, match="Q: kernels are compiled here"):
        subject.call(APPLY, Q, Q, Q)


def backward_case(seq_q, seq_k, machine, causal, dtype=torch.float32):
    """Arguments of a backward function (O, L and delta exact), exact gradients, PyTorch's own."""
    Q, K, V, dO = (t.detach() for t in inputs((2,), seq_q, seq_k, 16, machine, dtype))
    wide = [t.double() for t in (Q, K, V, dO)]
    O, L = attention(*wide[:3], causal), log_sum_exp(*wide[:2], causal)
    delta = (O * wide[3]).sum(-1)
    names = ("dQ", "dK", "dV")
    exact = dict(zip(names, attention_gradients(*wide, causal), strict=True))
    own = dict(zip(names, attention_gradients(Q, K, V, dO, causal), strict=True))
    return (Q, K, V, O.to(dtype), L.float(), dO, delta.float(), causal), exact, own


def assert_group(got, exact, own, arguments, causal):
    """The gradients in ``got``, judged on the scale of all three; a classic mistake is named."""
    Q, K, V, _, _, dO, *_ = arguments
    scale = max(t.abs().max().item() for t in exact.values())
    magnified = condition(Q, K, causal)

    def made():
        every = mistakes.gradients(Q, K, V, dO, causal)
        chosen = [list(exact).index(name) for name in got]
        return {words: tuple(results[i] for i in chosen) for words, results in every.items()}

    with mistakes.named(tuple(got), list(got.values()), made):
        for name, t in got.items():
            eps = torch.finfo(t.dtype).eps
            d = Q.shape[-1]
            assert_close_to_exact(name, t, exact[name], own[name], scale, eps, magnified, d)


def assert_kernels_compute(reply, subject, target, *arguments):
    """A Triton kernel did the work, PyTorch none of it."""
    assert reply.kernels, "no Triton kernel ran: this is still the PyTorch fallback"
    assert not reply.torch_ops, f"PyTorch computed {reply.torch_ops}: that is the kernel's work"
    idle = subject.call(target, *arguments, noop="both").output
    assert not torch.equal(idle, reply.output), "without the kernel the output is the same"
