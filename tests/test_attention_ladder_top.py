"""The upper rungs of the attention ladder: tiles, heads, 8 bits, descriptors."""

import math

import pytest
import torch

from course.check import assert_matches
from course.check.case import case
from course.oracle import fp8
from course.oracle.attention import attention
from course.testing.attention import assert_linear_memory, condition, views
from course.testing.inputs import normal, strided

TILED = "attention_ladder.tiled:attention"
MULTIHEAD = "attention_ladder.multihead:attention"
FP8 = "attention_ladder.fp8:attention"
QUANTISE = "attention_ladder.quantize:quantize_fp8"
DESCRIPTORS = "attention_ladder.descriptors:attention"
WITH_TILES = "attention_ladder.launch:with_tiles"
ALL = pytest.mark.parametrize(
    "rung", [TILED, MULTIHEAD, FP8, DESCRIPTORS], ids=["tiled", "multihead", "fp8", "descriptors"]
)
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["plain", "causal"])
LENGTHS = pytest.mark.parametrize(("seq_q", "seq_k"), [(1, 1), (63, 7), (70, 140), (140, 70)])
DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16], ids=["fp32", "fp16", "bf16"]
)
FORMATS = pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=["e4m3", "e5m2"]
)


def qkv(seq_q, seq_k, heads, d, machine, dtype=torch.float32, far=True):
    """(seq, heads, d), each head of another size. With ``far`` a constant column pushes the scores
    to about -120, where a padding, or a first maximum, of 0 shows."""
    lengths = (seq_q, seq_k, seq_k)
    q, k, v = (normal(n, *heads, d, seed=s) for s, n in enumerate(lengths))
    if far:
        q[..., 0], k[..., 0] = math.sqrt(120 * math.sqrt(d)), -math.sqrt(120 * math.sqrt(d))
    if heads:
        v *= 1 + torch.arange(heads[0])[:, None]
    return tuple(t.to(dtype).to(machine.device) for t in (q, k, v))


def first(t):
    """Heads in front, as the oracles have them."""
    return t.transpose(0, 1) if t.ndim == 3 else t[None]


def by_heads(q, k, v, causal):
    o = attention(first(q), first(k), first(v), causal)
    return o.transpose(0, 1) if q.ndim == 3 else o[0]


def in_words(q, k, causal):
    kind = "" if q.is_contiguous() else ", views with strides"
    return f"q {tuple(q.shape)}, k {tuple(k.shape)}, causal={causal}{kind}"


def assert_attention(subject, rung, q, k, v, causal, tiles=()):
    if tiles:
        name = rung.removeprefix("attention_ladder.").removesuffix(":attention")
        reply = subject.call(WITH_TILES, name, q, k, v, causal, *tiles)
    else:
        reply = subject.call(rung, q, k, v, causal)
    magnified = condition(first(q), first(k), causal)
    words = f", tiles of {tiles[0]} queries and {tiles[1]} keys" if tiles else ""
    with case(in_words(q, k, causal) + words):
        assert_matches("O", reply.output, by_heads, q, k, v, causal, condition=magnified)
    return reply


def assert_fp8(subject, q, k, v, causal, *options):
    """What is lost when Q, K and V are rounded is given; the weights may lose what FP8 rounds."""
    reply = subject.call(FP8, q, k, v, causal, *options)
    got = reply.output
    assert got.shape == q.shape and got.dtype == q.dtype, f"o: got {got.dtype}, {tuple(got.shape)}"
    rounded = [fp8.quantize(first(t).double(), *options) for t in (q, k, v)]
    exact = attention(*rounded, causal)
    # Hopper keeps some 14 bits of an FP8 product's sum
    eps = max(torch.finfo(q.dtype).eps, 2.0**-13)
    limit = fp8.weight_error(*rounded, causal, *options[1:]) + 4 * eps * exact.abs().max()
    with case(in_words(q, k, causal)):
        wrong = ~((first(got).double() - exact).abs() <= limit)
        at = wrong.nonzero()[:1].tolist()
        assert not wrong.any(), (
            f"o is wrong in {wrong.double().mean():.1%} of its elements, first at [head, query, "
            f"feature] {at}: got {first(got)[wrong][0]:.4g}, expected {exact[wrong][0]:.4g} give "
            f"or take {limit[wrong][0]:.1g}, which is what rounding the weights to 8 bits explains"
        )
    return reply


def assert_kernels_do_it_all(reply, kernels, idle):
    assert len(reply.kernels) == kernels, f"expected {kernels} launches, saw {reply.kernels}"
    assert not reply.torch_ops, f"PyTorch computed {reply.torch_ops}: that is the kernel's work"
    assert not torch.equal(idle, reply.output), "without the kernel the output is the same"


@pytest.mark.exercise("nb06-2", points=1)
@CAUSAL
@LENGTHS
def test_tiled_any_length(subject, machine, seq_q, seq_k, causal):
    assert_attention(subject, TILED, *qkv(seq_q, seq_k, (), 16, machine), causal)


@pytest.mark.exercise("nb06-2", points=1)
@pytest.mark.parametrize("d", [1, 40, 80, 160])
def test_tiled_every_feature(subject, machine, d):
    assert_attention(subject, TILED, *qkv(5, 70, (), d, machine), True)


@pytest.mark.exercise("nb06-5", points=1)
@CAUSAL
@LENGTHS
def test_multihead_any_length(subject, machine, seq_q, seq_k, causal):
    assert_attention(subject, MULTIHEAD, *qkv(seq_q, seq_k, (2,), 16, machine), causal)


@pytest.mark.exercise("nb06-5", points=1)
@DTYPES
@pytest.mark.parametrize("d", [40, 256])
def test_multihead_16_bits(subject, machine, d, dtype):
    q, k, v = qkv(9, 20, (3,), d, machine, dtype, far=False)
    assert_attention(subject, MULTIHEAD, q, k, v, True)


BY_EXERCISE = pytest.mark.parametrize(
    "rung",
    [
        pytest.param(TILED, id="tiled", marks=pytest.mark.exercise("nb06-2", points=0)),
        pytest.param(MULTIHEAD, id="multihead", marks=pytest.mark.exercise("nb06-5", points=0)),
        pytest.param(DESCRIPTORS, id="descriptors", marks=pytest.mark.exercise("hw3-4", points=0)),
    ],
)


@BY_EXERCISE
@CAUSAL
@DTYPES
def test_heads_dtypes_and_views(subject, machine, rung, dtype, causal):
    wide = torch.cat(qkv(10, 10, (2,), 24, machine, dtype, far=False), dim=1)
    # as one projection makes them: (seq, 3 x heads, d) cut in three
    q, k, v = wide.split(2, dim=1)
    assert_attention(subject, rung, q, k, v, causal)
    assert_attention(subject, rung, q[:, 1], k[:, 1], v[:, 1], causal)  # one head, (seq, d)


@BY_EXERCISE
def test_one_kernel_without_a_matrix(subject, machine, rung):
    peaks = {}
    for seq in (32, 64, 128):
        q, k, v = qkv(seq, seq, (2,), 16, machine)
        reply = assert_attention(subject, rung, q, k, v, False)
        peaks[seq] = reply.peak_bytes
    idle = subject.call(rung, q, k, v, False, noop="both").output
    assert_kernels_do_it_all(reply, 1, idle)
    assert_linear_memory(peaks, "forward")


@pytest.mark.exercise("nb06-8", points=0)
@pytest.mark.needs(dtype="float8_e4m3fn")
def test_fp8_reads_no_tile_beyond_the_diagonal(subject, machine):
    q, k, v = qkv(64, 512, (1,), 16, machine, torch.float16, far=False)
    k[256:] = v[256:] = float("nan")
    assert not subject.call(FP8, q, k, v, True).output.isnan().any(), (
        "keys 256 and later are NaN and no query sees them, yet the output is NaN"
    )


@BY_EXERCISE
def test_no_tile_beyond_the_diagonal_is_read(subject, machine, rung):
    q, k, v = qkv(64, 512, (1,), 16, machine, far=False)
    k[256:] = v[256:] = float("nan")
    assert_attention(subject, rung, q, k[:256], v[:256], True)
    assert not subject.call(rung, q, k, v, True).output.isnan().any(), (
        "keys 256 and later are NaN and no query sees them, yet the output is NaN"
    )


@pytest.mark.exercise("nb06-2", points=0)
@CAUSAL
def test_tiled_strided(subject, machine, causal):
    q, k, v = views(*qkv(6, 70, (2,), 24, machine))
    assert_attention(subject, TILED, q, k, v, causal)


@pytest.mark.exercise("nb06-5", points=0)
@CAUSAL
def test_multihead_strided(subject, machine, causal):
    q, k, v = views(*qkv(6, 70, (2,), 24, machine))
    assert_attention(subject, MULTIHEAD, q, k, v, causal)


@pytest.mark.parametrize(
    "rung",
    [
        pytest.param(TILED, id="tiled", marks=pytest.mark.exercise("nb06-2", points=0)),
        pytest.param(MULTIHEAD, id="multihead", marks=pytest.mark.exercise("nb06-5", points=0)),
    ],
)
@CAUSAL
@pytest.mark.parametrize("tiles", [(64, 32), (32, 64), (128, 64), (64, 128)], ids=str)
def test_any_tiles(subject, machine, rung, tiles, causal):
    q, k, v = qkv(130, 150, (), 16, machine, far=False)
    assert_attention(subject, rung, q, k, v, causal, tiles)


@pytest.mark.exercise("nb06-8", points=1)
@pytest.mark.needs(dtype="float8_e4m3fn")
@CAUSAL
@LENGTHS
def test_fp8_any_length(subject, machine, seq_q, seq_k, causal):
    q, k, v = qkv(seq_q, seq_k, (2,), 40, machine, torch.float16, far=False)
    # blocks of 128 keys, and heads, of different sizes: each has its own scale
    for t in (q, k, v):
        t[128:] *= 4
    assert_fp8(subject, q, k, v, causal)


@pytest.mark.exercise("nb06-8", points=1)
@FORMATS
@pytest.mark.parametrize("block", [128, None], ids=["per block", "per head"])
def test_fp8_error_is_that_of_the_format(subject, machine, block, dtype):
    q, k, v = (normal(160, 1, 64, seed=s, device=machine.device) for s in range(3))
    assert_fp8(subject, q, k, v, False, block, dtype)
    got = subject.call(FP8, q, k, v, False, block, dtype).output.double()
    exact = by_heads(q.double(), k.double(), v.double(), False)
    error = ((got - exact).square().mean() / exact.square().mean()).sqrt().item()
    # Q, K, V and the weights are each rounded by this much at most, independently of each other
    limit = math.sqrt(4) * fp8.relative_error(dtype)
    assert error <= limit, f"root mean square error {error:.3f} of that of o, allowed {limit:.3f}"


@pytest.mark.exercise("nb06-8", points=0)
@pytest.mark.needs(dtype="float8_e4m3fn")
def test_fp8_memory_and_kernels(subject, machine):
    peaks = {}
    for seq in (128, 256, 512):
        q, k, v = qkv(seq, seq, (1,), 16, machine, torch.float16, far=False)
        reply = assert_fp8(subject, q, k, v, True)
        peaks[seq] = reply.peak_bytes
    idle = subject.call(FP8, q, k, v, True, noop="both").output
    assert_kernels_do_it_all(reply, 4, idle)
    assert_linear_memory(peaks, "forward")


@pytest.mark.exercise("nb06-8", points=0)
@CAUSAL
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn])
def test_fp8_strided(subject, machine, dtype, causal):
    q, k, v = (strided(t) for t in qkv(6, 70, (2,), 24, machine, torch.float16, far=False))
    assert_fp8(subject, q, k, v, causal)


@pytest.mark.exercise("nb06-8", points=0)
@FORMATS
@pytest.mark.parametrize("block", [128, None], ids=["per block", "per head"])
def test_no_product_of_two_scales_is_0(subject, machine, block, dtype):
    q, k, v = qkv(6, 70, (2,), 24, machine, torch.float16, far=False)
    assert_fp8(subject, q * 0, k * 0, v, True, block, dtype)


@FORMATS
@pytest.mark.parametrize("block", [128, None], ids=["per block", "per head"])
@pytest.mark.parametrize("values", [False, True], ids=["rows", "values"])
def test_quantising_loses_what_the_format_rounds(subject, machine, values, block, dtype):
    x = normal(200, 2, 24, device=machine.device)
    x[128:] *= 1e-3
    x[150], x[:, 1, 5] = 0.0, 1e-6
    y, scale = subject.call(QUANTISE, x, block, dtype, values).outputs
    y = y.float()
    if values:
        pairs = y.unflatten(-1, (16, 4, 2, 2))
        y = pairs.transpose(-2, -3).flatten(-4).mT
    assert not y[:, 200:].any() and not y[..., 24:].any(), "the padding should be 0"
    each = scale.repeat_interleave(128, 1)[..., None]
    back, exact = (y * each)[:, :200, :24], first(x)
    step = fp8.smallest_step(dtype) / 2 * each[:, :200]
    # the scale is rounded, too
    limit = torch.maximum(exact.abs() * fp8.relative_error(dtype), step) * (1 + 2**-20)
    assert ((back - exact).abs() <= limit).all()
    largest = exact.abs().amax((1, 2))
    top = scale.amax(1) * torch.finfo(dtype).max
    torch.testing.assert_close(top, largest)


@ALL
@pytest.mark.parametrize(
    ("shapes", "named"),
    [
        (((8,), (4, 8), (4, 8)), r"q: expected \(seq, d\) or \(seq, heads, d\), got shape \(8,\)"),
        (((4, 2, 264), (4, 2, 264), (4, 2, 264)), r"q: .*1 to 256, got shape \(4, 2, 264\)"),
        (((0, 2, 8), (4, 2, 8), (4, 2, 8)), r"q: .*\(0, 2, 8\)"),
        (((4, 2, 8), (4, 3, 8), (4, 3, 8)), r"k: expected \(seq_k, 2, 8\).*got shape \(4, 3, 8\)"),
        (((4, 2, 8), (4, 8), (4, 8)), r"k: .*\(4, 8\)"),
        (((4, 2, 8), (5, 2, 8), (4, 2, 8)), r"v: .*\(4, 2, 8\)"),
    ],
)
def test_bad_shapes_are_named(subject, machine, rung, shapes, named):
    with pytest.raises(ValueError, match=named):
        subject.call(rung, *(torch.zeros(s, device=machine.device) for s in shapes))


@ALL
def test_bad_dtypes_and_devices_are_named(subject, machine, rung):
    t = torch.zeros(4, 8, device=machine.device)
    with pytest.raises(ValueError, match=r"q: expected float32 or float16 or bfloat16, got"):
        subject.call(rung, t.double(), t.double(), t.double())
    with pytest.raises(ValueError, match=r"v: expected the dtype of q"):
        subject.call(rung, t, t, t.half())
    with pytest.raises(ValueError, match=r"k: expected the device of q"):
        subject.call(rung, t, t.to("meta"), t)


def test_what_no_descriptor_can_say_is_named(subject, machine):
    t = torch.zeros(4, 2, 8, dtype=torch.float16, device=machine.device)
    odd = torch.zeros(4, 2, 9, dtype=torch.float16, device=machine.device)[..., :8]
    with pytest.raises(ValueError, match=r"k: a descriptor needs.* got strides \(9, 18, 1\)"):
        subject.call(DESCRIPTORS, t, odd, t)


def test_unknown_formats_and_blocks_are_named(subject, machine):
    t = torch.zeros(4, 2, 8, device=machine.device)
    with pytest.raises(ValueError, match=r"block: expected 128 or None, got 96"):
        subject.call(FP8, t, t, t, False, 96)
    with pytest.raises(ValueError, match=r"dtype: expected float8_e4m3fn or float8_e5m2, got"):
        subject.call(FP8, t, t, t, False, 128, torch.int8)
