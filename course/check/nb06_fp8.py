"""The checks of nb06-7 and nb06-8: numbers in 8 bits, and attention made of them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course.check.case import case
from course.check.close import how_many
from course.check.rungs import Rung
from course.device import prepare
from course.interpreter import proves
from course.oracle import fp8
from course.oracle.attention import attention

_E4M3 = torch.float8_e4m3fn
_LARGEST = torch.finfo(_E4M3).max  # 448
_STEP = 2.0**-4  # rounding to 3 bits of fraction moves a number by at most this share of itself
_SMALLEST = 2.0**-10  # half of the smallest subnormal number


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def judge_quantiser(quantise: Callable) -> str:
    """Judge ``quantise(x, rows) -> (fp8, scale)``.

    Raises:
        AssertionError: in words.
    """
    for seq, heads, d, rows in ((16, 1, 4, 16), (64, 3, 8, 16), (50, 2, 16, 16), (40, 2, 8, 64)):
        x = _random(seq, heads, d, seed=1)
        # each block and head of another size; the last block of the last head is empty
        x *= 10.0 ** torch.arange(-3, heads - 3)[None, :, None]
        x[: rows // 2] *= 30.0
        x[(seq - 1) // rows * rows :, -1] = 0.0
        with case(f"x: {(seq, heads, d)}, rows={rows}"):
            _judge_one(quantise(x.clone(), rows), x, rows)
    x = _random(64, 1, 8, seed=2)
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


def dequantised(q8: Tensor, scale: Tensor, rows: int) -> Tensor:
    """(seq, heads, d) in float32."""
    return q8.float() * scale.repeat_interleave(rows, 0)[: len(q8), :, None]


def judge_fp8(rung: Rung) -> str:
    """Judge the FP8 rung: rounding the weights to 8 bits must explain its error.

    Raises:
        AssertionError: in words.
    """
    machine = prepare()
    if machine.interpreted and not proves(_E4M3):
        return "unproven here: this version of triton does not interpret FP8 correctly"
    if not machine.interpreted and torch.cuda.get_device_capability() < (8, 9):
        return "unproven here: products of FP8 need sm_89, and this GPU has none"
    for seq, heads, d in ((1, 1, 16), (70, 2, 32), (150, 1, 64)):
        q, k, v = (_random(seq, heads, d, seed=s).half() for s in range(3))
        # heads, and the two halves of the sequence, of different sizes
        q[:, -1] /= 4
        k[:, -1] *= 4
        v[: seq // 2] *= 8
        v[:, -1] *= 16
        q, k, v = (t.to(machine.device) for t in (q, k, v))
        for is_causal in (False, True):
            got = rung.run(q, k, v, is_causal)
            causal = ", causal" if is_causal else ""
            with case(f"seq={seq}, heads={heads}, d={d}, float16{causal}"):
                _judge_output(got, q, k, v, is_causal)
    return "no farther from float64 than rounding Q, K, V and the weights to 8 bits explains"


def _judge_output(got: Tensor, q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> None:
    assert got.shape == q.shape, f"o: expected shape {tuple(q.shape)}, got {tuple(got.shape)}"
    # what is lost when Q, K and V are rounded is given; the weights may lose what FP8 rounds
    Q, K, V = (fp8.quantize(t.transpose(0, 1).double()) for t in (q, k, v))
    exact = attention(Q, K, V, is_causal).transpose(0, 1)
    allowed = fp8.weight_error(Q, K, V, is_causal).transpose(0, 1)
    allowed = allowed + 4 * torch.finfo(q.dtype).eps * exact.abs().max()
    wrong = ~((got.double() - exact).abs() <= allowed)
    if wrong.any():
        at = tuple(wrong.nonzero()[0].tolist())
        raise AssertionError(
            f"o is wrong in {how_many(wrong)}, first at o{list(at)}: got "
            f"{got[at]:.4g}, expected {exact[at]:.4g} give or take {allowed[at]:.1g}, which is all "
            f"that rounding the weights to 8 bits explains{_reason(got.double(), exact, allowed)}"
        )


def _reason(got: Tensor, exact: Tensor, allowed: Tensor) -> str:
    for words, factor in (("large", 256), ("small", 1 / 256)):
        if ((got / factor - exact).abs() <= allowed).all():
            return f". All of it is 256 times too {words}: 2^SHIFT is in p or in l only"
    return ""
