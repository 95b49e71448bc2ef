"""The checks of nb06-7 and nb06-8: numbers in 8 bits, and attention made of them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course.check.case import case
from course.check.close import how_many
from course.check.fresh import random
from course.check.nb06_mistakes import fp8_mistake
from course.check.nb06_rungs import LadderRung, judge_products, judge_tiles_visited
from course.check.rungs import Rung
from course.device import prepare
from course.interpreter import proves
from course.oracle import fp8
from course.oracle.attention import attention

_E4M3 = torch.float8_e4m3fn
_LARGEST = torch.finfo(_E4M3).max  # 448
_STEP = 2.0**-4  # rounding to 3 bits of fraction moves a number by at most this share of itself
_SMALLEST = 2.0**-10  # half of the smallest subnormal number


def judge_quantiser(quantise: Callable) -> str:
    """Judge ``quantise(x, rows) -> (fp8, scale)``.

    Raises:
        AssertionError: in words.
    """
    for seq, heads, d, rows in ((16, 1, 4, 16), (64, 3, 8, 16), (50, 2, 16, 16), (40, 2, 8, 64)):
        x = random(seq, heads, d, seed=1)
        # each block and head of another size; the last block of the last head is empty
        x *= 10.0 ** torch.arange(-3, heads - 3)[None, :, None]
        x[: rows // 2] *= 30.0
        x[(seq - 1) // rows * rows :, -1] = 0.0
        with case(f"x: {(seq, heads, d)}, rows={rows}"):
            _judge_one(quantise(x.clone(), rows), x, rows)
    # float16 has no such scales: 0.001 / 448 is below its normal numbers
    small = (1e-3 * random(50, 2, 16, seed=3)).half()
    with case("x: (50, 2, 16) in float16, numbers around 0.001, rows=16"):
        _judge_one(quantise(small.clone(), 16), small.float(), 16)
    x = random(64, 1, 8, seed=2)
    x[3, 0, 5] = 1e4
    q8, scale = quantise(x, 16)
    rest = (dequantised(q8, scale, 16) - x)[16:].abs().max().item()
    assert rest <= _STEP * x[16:].abs().max().item(), (
        f"one outlier in the first 16 rows, and the others are off by up to {rest:.2g}: is there "
        "one scale for each block?"
    )
    return "one scale a head and block, all of E4M3's range used, and an outlier spoils one block"


def _judge_one(got: object, x: Tensor, rows: int) -> None:
    assert isinstance(got, tuple) and len(got) == 2, "return the FP8 tensor and its scales"
    q8, scale = got
    seq, heads, _ = x.shape
    blocks = math.ceil(seq / rows)
    assert isinstance(q8, Tensor) and q8.dtype == _E4M3, (
        f"the first result should have dtype {_E4M3}, got {getattr(q8, 'dtype', type(q8))}"
    )
    assert q8.shape == x.shape, f"expected FP8 numbers of shape {tuple(x.shape)}, got {q8.shape}"
    assert scale.shape == (blocks, heads), (
        f"expected scales of shape (blocks, heads) = {(blocks, heads)}, got {tuple(scale.shape)}"
    )
    assert scale.dtype == torch.float32, f"expected scales in float32, got {scale.dtype}"
    assert scale.isfinite().all() and (scale > 0).all(), (
        "a scale is 0, inf or NaN. A block of zeros has no largest number: let its scale be 1"
    )
    _judge_scales(scale, x, rows)
    assert q8.float().isfinite().all(), (
        f"the FP8 tensor holds NaN. E4M3 ends at {_LARGEST:.0f} and has no inf: more than that is "
        "NaN. And 0 / 0 is NaN too"
    )
    back = dequantised(q8, scale, rows)
    each = scale.repeat_interleave(rows, 0)[:seq, :, None]
    limit = 1.001 * torch.maximum(_STEP * x.abs(), _SMALLEST * each)
    wrong = (back - x).abs() > limit
    if wrong.any():
        at = tuple(wrong.nonzero()[0].tolist())
        raise AssertionError(
            f"fp8 * scale is wrong first at {list(at)}: {back[at].item():.4g} instead of "
            f"{x[at].item():.4g}, more than rounding to 3 bits of fraction can explain. Which "
            "scale belongs to which head and block of rows?"
        )
    for block in range(blocks):
        part = slice(block * rows, (block + 1) * rows)
        top = q8[part].float().abs().amax(dim=(0, 2))
        full = top[x[part].abs().amax(dim=(0, 2)) > 0]
        assert (full >= 0.99 * _LARGEST).all(), (
            f"the largest number of a head's block became {full.min().item():.3g}, and could be "
            f"{_LARGEST:.0f}: is its scale its own largest magnitude / {_LARGEST:.0f}?"
        )


def _judge_scales(scale: Tensor, x: Tensor, rows: int) -> None:
    """Only what can be named; other scales are judged by what they make of x."""
    parts = x.split(rows)
    largest = torch.stack([part.abs().amax(dim=(0, 2)) for part in parts])
    signed = torch.stack([part.amax(dim=(0, 2)) for part in parts])
    full = largest > 0
    if not full.any():
        return
    away = (scale * _LARGEST / largest - 1).abs()[full]
    assert signed.equal(largest) or not torch.allclose((scale * _LARGEST)[full], signed[full]), (
        "the scales are those of the largest numbers, and not of the largest magnitudes: abs() "
        "before the maximum"
    )
    assert not 1e-5 < away.max() < 0.02, (
        f"a scale is off by {away.max().item():.2g} of itself: was it computed in 16 bits? "
        "Convert with .float() before you divide by 448"
    )


def dequantised(q8: Tensor, scale: Tensor, rows: int) -> Tensor:
    """(seq, heads, d) in float32."""
    return q8.float() * scale.repeat_interleave(rows, 0)[: len(q8), :, None]


def judge_fp8(rung: LadderRung) -> str:
    """Judge the FP8 rung: rounding the weights to 8 bits must explain its error.

    Raises:
        AssertionError: in words.
    """
    machine = prepare()
    if machine.interpreted and not proves(_E4M3):
        return "unproven here: this version of triton does not interpret FP8 correctly"
    if not machine.interpreted and torch.cuda.get_device_capability() < (8, 9):
        return "unproven here: products of FP8 need sm_89, and this GPU has none"
    for seq_q, seq_k, heads, d in ((1, 1, 1, 16), (70, 150, 2, 40), (150, 70, 2, 32)):
        _judge_inputs(rung, seq_q, seq_k, heads, d)
    rung.options = (None, torch.float8_e5m2)
    _judge_inputs(rung, 70, 70, 2, 16, ", E5M2, one scale a head")
    rung.options = ()
    for tiles in ((64, 32), (32, 64)):
        with rung.cut_in(*tiles) as words:
            _judge_inputs(rung, 70, 150, 1, 16, words)
    _judge_small_weights(rung)
    judge_tiles_visited(rung, torch.float16)
    if machine.interpreted:  # only there types are seen
        judge_products("fp8", "fp8e4nv", "FP8 twice as fast as 16 bits")
    return "no farther from float64 than rounding Q, K, V and the weights to 8 bits explains"


def _judge_inputs(
    rung: LadderRung, seq_q: int, seq_k: int, heads: int, d: int, what: str = ""
) -> None:
    q, k, v = (random(n, heads, d, seed=s).half() for s, n in enumerate((seq_q, seq_k, seq_k)))
    # heads, and blocks of 128 rows, of different sizes
    q[:, -1] /= 4
    k[:, -1] *= 4
    v[:, -1] *= 16
    q[128:] *= 2
    k[128:] *= 3
    v[128:] *= 8
    q, k, v = (t.to(prepare().device) for t in (q, k, v))
    for is_causal in (False, True):
        got = rung.run(q, k, v, is_causal)
        causal = ", causal" if is_causal else ""
        words = f"seq_q={seq_q}, seq_k={seq_k}, heads={heads}, d={d}, float16{what}{causal}"
        with case(words):
            _judge_output(got, q, k, v, is_causal, *rung.options)


def _judge_small_weights(rung: Rung) -> None:
    """One key has the weight 1 and the value 0, 149 have 2^-11 and 1: together they are heard."""
    q, k = torch.zeros(150, 1, 16), torch.zeros(150, 1, 16)
    q[..., 0] = k[0, :, 0] = math.sqrt(4 * 11 * math.log(2))
    v = torch.ones(150, 1, 16)
    v[0] = 0.0
    q, k, v = (t.half().to(prepare().device) for t in (q, k, v))
    got = rung.run(q, k, v, False)
    with case("one key of weight 1 and value 0, and 149 keys of weight 2^-11 and value 1"):
        try:
            _judge_output(got, q, k, v, False)
        except AssertionError as error:
            raise AssertionError(
                f"{error} Without the factor 2^SHIFT, E4M3 rounds weights below 2^-10 to 0."
            ) from None


def _judge_output(
    got: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    is_causal: bool,
    block: int | None = 128,
    dtype: torch.dtype = _E4M3,
) -> None:
    assert got.shape == q.shape, f"o: expected shape {tuple(q.shape)}, got {tuple(got.shape)}"
    assert got.dtype == q.dtype, f"o: expected dtype {q.dtype}, got {got.dtype}"
    # what is lost when Q, K and V are rounded is given; the weights may lose what FP8 rounds
    heads_first = [t.transpose(0, 1).double() for t in (q, k, v)]
    Q, K, V = (fp8.quantize(t, block, dtype) for t in heads_first)
    exact = attention(Q, K, V, is_causal).transpose(0, 1)
    allowed = fp8.weight_error(Q, K, V, is_causal, dtype).transpose(0, 1)
    # of the largest of a head; Hopper keeps some 14 bits of an FP8 product's sum, float16 has 11
    allowed = allowed + 4 * torch.finfo(q.dtype).eps * exact.abs().amax((0, 2), keepdim=True)
    wrong = ~((got.double() - exact).abs() <= allowed)
    if wrong.any():
        at = tuple(wrong.nonzero()[0].tolist())
        first = got.transpose(0, 1)
        reason = fp8_mistake(first, heads_first, is_causal) if block and dtype == _E4M3 else ""
        said = (
            f"o is wrong in {how_many(wrong)}, first at o{list(at)}: got "
            f"{got[at]:.4g}, expected {exact[at]:.4g} give or take {allowed[at]:.1g}, which is all "
            "that rounding the weights to 8 bits explains."
        )
        raise AssertionError(f"{said} {reason}".rstrip())
