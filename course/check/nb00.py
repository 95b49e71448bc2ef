"""Checks of notebook 00: each says in words which element is wrong, and why it may be."""

from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor

from course.check.close import assert_matches
from course.check.fresh import Guarded, like_a_gpu, surrounded
from course.check.registry import checker
from course.device import prepare

Kernel = Any  # a triton.jit function: launched as kernel[grid](*arguments)

_TWO_MASKS = (
    "is a mask missing from tl.store, or are its two parts joined with `and`? "
    "Use &, each side in parentheses"
)


def _reads() -> str:
    """What could be shown about loads: a GPU does not tell what it read."""
    if prepare().interpreted:
        return " or read"
    return " (stray reads are unproven: only the interpreter sees them)"


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@checker("nb00-1")
def blocks(number_of_programs: Callable, my_block: Callable) -> str:
    for n, BLOCK, expected in ((10, 4, 3), (12, 4, 3), (1, 8, 1), (1000, 64, 16)):
        got = number_of_programs(n, BLOCK)
        assert got == expected, (
            f"number_of_programs({n}, {BLOCK}) is {got}, but {n} elements in blocks of {BLOCK} "
            f"need {expected} programs"
        )
    for pid, n, BLOCK in ((0, 10, 4), (1, 10, 4), (2, 10, 4), (2, 12, 4)):
        name = f"my_block({pid}, {n}, {BLOCK})"
        result = my_block(pid, n, BLOCK)
        assert isinstance(result, tuple) and len(result) == 2, f"{name}: expected offsets, mask"
        offsets = [pid * BLOCK + i for i in range(BLOCK)]
        for part, values, wanted in (
            ("offsets", result[0], offsets),
            ("mask", result[1], [o < n for o in offsets]),
        ):
            assert isinstance(values, Tensor), f"{name}: {part} should be a tensor, is {values!r}"
            assert values.tolist() == wanted, f"{name}: {part} {values.tolist()}, expected {wanted}"
    return "every element has exactly one owner, and the last block knows where the data end"


@checker("nb00-2")
def add(add_kernel: Kernel) -> str:
    for n, BLOCK in ((64, 16), (1, 16), (63, 16), (1000, 128)):
        x, y = surrounded(_random(n)), surrounded(_random(n, seed=1))
        out = Guarded(n)
        with like_a_gpu(x=x, y=y):
            add_kernel[(triton.cdiv(n, BLOCK),)](x, y, out.tensor, n, BLOCK=BLOCK)
        assert_matches(f"out (n={n}, BLOCK={BLOCK})", out.tensor, torch.add, x, y)
        out.check(f"out (n={n}, BLOCK={BLOCK})")
    shown = f"nothing beyond the end was written{_reads()}"
    return f"right for 1, 63, 64 and 1000 elements, and {shown}"


@checker("nb00-3")
def tile(tile_offsets: Callable) -> str:
    for arguments in (
        (0, 0, 10, 1, 2, 4),
        (1, 2, 10, 1, 2, 4),
        (1, 2, 1, 30, 2, 4),
        (3, 1, 7, 2, 4, 2),
    ):
        pid_m, pid_n, stride_m, stride_n, BLOCK_M, BLOCK_N = arguments
        expected = [
            [
                (pid_m * BLOCK_M + i) * stride_m + (pid_n * BLOCK_N + j) * stride_n
                for j in range(BLOCK_N)
            ]
            for i in range(BLOCK_M)
        ]
        got = tile_offsets(*arguments)
        name = f"tile_offsets{arguments}"
        assert isinstance(got, Tensor), f"{name}: expected a tensor, got {got!r}"
        assert got.shape == (BLOCK_M, BLOCK_N), (
            f"{name}: expected shape {(BLOCK_M, BLOCK_N)}, got {tuple(got.shape)}"
        )
        assert got.tolist() == expected, f"{name}: got {got.tolist()}, expected {expected}"
    return "row-major, column-major and strided tiles"


def _grey(rgb: Tensor) -> Tensor:
    return 0.299 * rgb[..., 0] + 0.587 * rgb[..., 1] + 0.114 * rgb[..., 2]


@checker("nb00-4")
def grey(grey_kernel: Kernel) -> str:
    H, W, BLOCK_H, BLOCK_W = 37, 21, 16, 8
    image = _random(H, W, 3).abs()
    grid = (triton.cdiv(H, BLOCK_H), triton.cdiv(W, BLOCK_W))
    for layout, strides in (
        ("contiguous", (3 * W, 3, 1)),
        ("transposed", (3, 3 * H, 1)),
        ("colours first", (W, 1, H * W)),
    ):
        rgb, out = surrounded(image, strides), Guarded(H, W)
        grey_kernel[grid](rgb, out.tensor, H, W, *strides, W, 1, BLOCK_H=BLOCK_H, BLOCK_W=BLOCK_W)
        out.check(f"grey ({layout})", _TWO_MASKS)
        assert_matches(f"grey ({layout})", out.tensor, _grey, rgb)
    out = Guarded(W, H)
    grey_kernel[grid](rgb, out.tensor, H, W, *strides, 1, H, BLOCK_H=BLOCK_H, BLOCK_W=BLOCK_W)
    assert_matches("grey (written transposed)", out.tensor.T, _grey, rgb)
    return "right for three layouts of the photo and two of the result"


def _row_max(x: Tensor) -> Tensor:
    return x.amax(1)


@checker("nb00-5")
def row_max(row_max_kernel: Kernel) -> str:
    mixed = -_random(4, 5).abs() - 1
    mixed[0] *= -1
    cases = (
        ("positive numbers", 4, 8, 8, _random(4, 8).abs()),
        ("rows of negative numbers", 4, 5, 5, mixed),
        ("a slice of a wider matrix", 4, 5, 11, _random(4, 5)),
        ("7 rows, two programs of 4", 7, 5, 11, _random(7, 5)),
    )
    for name, rows, cols, stride, values in cases:
        x, out = surrounded(values, (stride, 1)), Guarded(rows)
        grid = (triton.cdiv(rows, 4),)
        row_max_kernel[grid](x, out.tensor, rows, cols, stride, BLOCK_R=4, BLOCK_C=8)
        out.check(f"out ({name})")
        assert_matches(f"out ({name})", out.tensor, _row_max, x)
    return "negative rows, slices and a last block that hangs over the edge"


@checker("nb00-6")
def partial_sum(partial_sum_kernel: Kernel) -> str:
    for n, BLOCK in ((64, 16), (63, 16), (1000, 64)):
        programs = triton.cdiv(n, BLOCK)
        x, out = surrounded(_random(n)), Guarded(programs)
        with like_a_gpu():
            partial_sum_kernel[(programs,)](x, out.tensor, n, BLOCK=BLOCK)

        def by_blocks(x: Tensor, BLOCK: int = BLOCK) -> Tensor:
            return torch.stack([part.sum() for part in x.split(BLOCK)])

        assert_matches(f"partial (n={n}, BLOCK={BLOCK})", out.tensor, by_blocks, x)
        out.check(f"partial (n={n}, BLOCK={BLOCK})")
    return "each program wrote its own place, and no other value came into its sum"


@checker("nb00-7")
def matmul(matmul_kernel: Kernel) -> str:
    # a large first term and many small ones: an fp16 accumulator loses all the small ones
    tall = torch.full((16, 2048), 0.03)
    tall[:, 0] = 2048.0
    cases = (
        (
            "one tile",
            _random(16, 16),
            _random(16, 16, seed=1),
            False,
            "Slightly off everywhere, or NaN: does acc stay fp32 until tl.store?",
        ),
        (
            "K in three steps",
            _random(16, 48),
            _random(48, 16, seed=1),
            False,
            "Is acc kept from one step along K to the next?",
        ),
        (
            "ragged K",
            _random(16, 50),
            _random(50, 16, seed=1),
            False,
            "K is 50 and BLOCK_K is 16: is there a fourth, shorter step, and are the places beyond "
            "K 0 in both tiles (k < K in both masks, other=0.0)?",
        ),
        (
            "edges masked",
            _random(33, 50),
            _random(50, 21, seed=1),
            False,
            "M and N hang over the edge too: rows < M and cols < N.",
        ),
        (
            "transposed inputs",
            _random(33, 50),
            _random(50, 21, seed=1),
            True,
            "Which stride is left out, or swapped?",
        ),
        (
            "fp16, K = 2048",
            tall.half(),
            torch.ones(2048, 16).half(),
            False,
            "Only the fp16 case is wrong: is the sum rounded to fp16 before tl.store?",
        ),
    )
    for name, a, b, transposed, advice in cases:
        (M, K), N = a.shape, b.shape[1]
        a = surrounded(a, (1, M) if transposed else None)
        b = surrounded(b, (1, K) if transposed else None)
        out = Guarded(M, N, dtype=a.dtype)
        strides = (*a.stride(), *b.stride(), *out.tensor.stride())
        blocks = {"BLOCK_M": 16, "BLOCK_N": 16, "BLOCK_K": 16}
        grid = (triton.cdiv(M, 16), triton.cdiv(N, 16))
        with like_a_gpu():
            matmul_kernel[grid](a, b, out.tensor, M, N, K, *strides, **blocks)
        out.check(f"c ({name})", _TWO_MASKS)
        try:
            assert_matches(f"c ({name})", out.tensor, torch.matmul, a, b)
        except AssertionError as error:
            raise AssertionError(f"{error} {advice}") from None
    return "any sizes, any strides, and the sum stays fp32"
