"""The attention ladder: the same function on every rung."""

import math

import pytest
import torch

from course.check import rungs
from course.check.case import case
from course.testing.attention import assert_linear_memory, condition
from course.testing.inputs import normal

NAIVE = "attention_ladder.naive:attention"
BASIC = "attention_ladder.basic:attention"
VECTORIZED = "attention_ladder.vectorized:attention"
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["plain", "causal"])
LENGTHS = pytest.mark.parametrize(("seq_q", "seq_k"), [(1, 1), (63, 7), (5, 63), (2, 400)])


def qkv(seq_q, seq_k, d, machine):
    """A constant column pushes the scores to about -120: there a padding, or a first maximum, of 0
    shows, because exp(-120) is 0 in float32."""
    q, k, v = (normal(n, d, seed=s) for s, n in enumerate((seq_q, seq_k, seq_k)))
    q[:, 0], k[:, 0] = math.sqrt(120 * math.sqrt(d)), -math.sqrt(120 * math.sqrt(d))
    return tuple(t.to(machine.device) for t in (q, k, v))


def assert_attention(subject, rung, q, k, v, causal, kind=", scores around -120", reference=None):
    reply = subject.call(rung, q, k, v, causal)
    magnified = condition(q, k, causal)
    words = f"seq_q={len(q)}, seq_k={len(k)}, d={q.shape[1]}{kind}{', causal' if causal else ''}"
    with case(words):
        rungs.assert_attention("o", reply.output, q, k, v, causal, magnified, reference)
    return reply


def assert_strided(subject, rung, dtype, causal):
    plain = (normal(*s, seed=i, dtype=dtype) for i, s in enumerate(((6, 24), (11, 24), (11, 24))))
    q, k, v = rungs.laid_out_apart(*plain)
    assert_attention(subject, rung, q, k, v, causal, f", {dtype}, strides of each tensor's own")


def assert_float32_inside(subject, rung, causal, machine):
    plain = (normal(n, 256, seed=s, device=machine.device) for s, n in enumerate((5, 9, 9)))
    q, k, v = rungs.beyond_float16(*plain)
    kind = ", float16, products up to 96,000: is what is loaded converted before it is multiplied?"
    assert_attention(subject, rung, q, k, v, causal, kind, rungs.by_heads_in_float32)


def assert_kernel_does_it_all(subject, rung, machine):
    peaks = {}
    for seq in (4, 8, 16):
        q, k, v = qkv(seq, seq, 16, machine)
        reply = assert_attention(subject, rung, q, k, v, False)
        peaks[seq] = reply.peak_bytes
    assert len(reply.kernels) == 1, f"expected one kernel launch, saw {reply.kernels}"
    if machine.interpreted:
        for name, loaded in zip("kv", reply.loads[1:], strict=True):
            assert loaded <= seq * k.numel(), (
                f"{loaded} elements of {name} were loaded; one pass in each of the {seq} programs "
                f"loads {seq * k.numel()}"
            )
    assert not reply.torch_ops, f"PyTorch computed {reply.torch_ops}: that is the kernel's work"
    idle = subject.call(rung, q, k, v, False, noop="both").output
    assert not torch.equal(idle, reply.output), "without the kernel the output is the same"
    assert_linear_memory(peaks, "forward")


@CAUSAL
@LENGTHS
def test_naive(subject, machine, seq_q, seq_k, causal):
    assert_attention(subject, NAIVE, *qkv(seq_q, seq_k, 24, machine), causal)


def test_naive_holds_two_score_matrices(subject, machine):
    reply = subject.call(NAIVE, *qkv(256, 256, 16, machine))
    square = 4 * 256**2
    assert 2 * square <= reply.peak_bytes < 2.3 * square


@pytest.mark.exercise("nb03-1", points=1)
@CAUSAL
@LENGTHS
def test_basic_any_length(subject, machine, seq_q, seq_k, causal):
    assert_attention(subject, BASIC, *qkv(seq_q, seq_k, 16, machine), causal)


@pytest.mark.exercise("nb03-1", points=1)
def test_basic_is_one_kernel(subject, machine):
    assert_kernel_does_it_all(subject, BASIC, machine)


@pytest.mark.exercise("nb03-1", points=0)
@CAUSAL
@pytest.mark.parametrize("d", [1, 40, 256])
def test_basic_any_head_dimension(subject, machine, d, causal):
    assert_attention(subject, BASIC, *qkv(5, 9, d, machine), causal)


@pytest.mark.exercise("nb03-1", points=0)
@CAUSAL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])
def test_basic_strided(subject, dtype, causal):
    assert_strided(subject, BASIC, dtype, causal)


@pytest.mark.exercise("nb03-1", points=0)
@CAUSAL
def test_basic_computes_in_float32(subject, machine, causal):
    assert_float32_inside(subject, BASIC, causal, machine)


@pytest.mark.exercise("nb03-2", points=1)
@CAUSAL
@LENGTHS
def test_vectorized_any_length_that_fits(subject, machine, seq_q, seq_k, causal):
    assert_attention(subject, VECTORIZED, *qkv(seq_q, seq_k, 16, machine), causal)


@pytest.mark.exercise("nb03-2", points=1)
def test_vectorized_is_one_kernel(subject, machine):
    assert_kernel_does_it_all(subject, VECTORIZED, machine)


@pytest.mark.exercise("nb03-2", points=0)
@CAUSAL
@pytest.mark.parametrize("d", [1, 40, 256])
def test_vectorized_any_head_dimension(subject, machine, d, causal):
    assert_attention(subject, VECTORIZED, *qkv(5, 9, d, machine), causal)


@pytest.mark.exercise("nb03-2", points=0)
@CAUSAL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])
def test_vectorized_strided(subject, dtype, causal):
    assert_strided(subject, VECTORIZED, dtype, causal)


@pytest.mark.exercise("nb03-2", points=0)
@CAUSAL
def test_vectorized_computes_in_float32(subject, machine, causal):
    assert_float32_inside(subject, VECTORIZED, causal, machine)


@pytest.mark.exercise("nb03-2", points=0)
def test_vectorized_goes_as_far_as_it_says(subject, machine):
    assert_attention(subject, VECTORIZED, *qkv(1, 512, 64, machine), False)


def test_vectorized_says_how_many_keys_fit(subject, machine):
    with pytest.raises(ValueError, match=r"k: too many keys.*at most 512 fit, got 513"):
        subject.call(VECTORIZED, *qkv(1, 513, 64, machine))


@pytest.mark.parametrize("rung", [NAIVE, BASIC, VECTORIZED], ids=["naive", "basic", "vectorized"])
@pytest.mark.parametrize(
    ("shapes", "named"),
    [
        (((2, 4, 8), (4, 8), (4, 8)), r"q: .*\(2, 4, 8\)"),
        (((4, 257), (4, 257), (4, 257)), r"q: .*\(4, 257\)"),
        (((0, 8), (4, 8), (4, 8)), r"q: .*\(0, 8\)"),
        (((4, 8), (4, 9), (4, 9)), r"k: .*\(4, 9\)"),
        (((4, 8), (0, 8), (0, 8)), r"k: .*\(0, 8\)"),
        (((4, 8), (5, 8), (4, 8)), r"v: .*\(4, 8\)"),
    ],
)
def test_bad_shapes_are_named(subject, machine, rung, shapes, named):
    with pytest.raises(ValueError, match=named):
        subject.call(rung, *(torch.zeros(s, device=machine.device) for s in shapes))


@pytest.mark.parametrize("rung", [NAIVE, BASIC, VECTORIZED], ids=["naive", "basic", "vectorized"])
def test_bad_dtypes_and_devices_are_named(subject, machine, rung):
    t = torch.zeros(4, 8, device=machine.device)
    with pytest.raises(ValueError, match=r"q: expected float32 or float16, got"):
        subject.call(rung, t.double(), t.double(), t.double())
    with pytest.raises(ValueError, match=r"v: expected the dtype of q"):
        subject.call(rung, t, t, t.half())
    with pytest.raises(ValueError, match=r"k: expected the device of q"):
        subject.call(rung, t, t.to("meta"), t)
