"""Checks of notebook 00: each says in words which element is wrong, and why it may be."""

import math
from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor

from course.check.case import case
from course.check.close import assert_matches
from course.check.fresh import STORE_ADVICE, Guarded, Traffic, like_a_gpu, random, surrounded
from course.check.registry import checker
from course.device import prepare

Kernel = Any  # a triton.jit function: launched as kernel[grid](*arguments)

_TWO_MASKS = (
    "is a mask missing from tl.store, or are its two parts joined with `and` (use &, each side in "
    "parentheses), or is a stride wrong?"
)


def _reads() -> str:
    """What could be shown about loads: a GPU does not tell what it read."""
    if prepare().interpreted:
        return "; nothing outside was read"
    return " (stray reads are unproven: only the interpreter sees them)"


@checker("nb00-1")
def blocks(number_of_programs: Callable, my_block: Callable) -> str:
    for n, BLOCK, expected in ((10, 4, 3), (12, 4, 3), (1, 8, 1), (1000, 64, 16)):
        got = number_of_programs(n, BLOCK)
        assert got == expected and isinstance(got, int), (
            f"number_of_programs({n}, {BLOCK}) is {got!r}, but {n} elements in blocks of {BLOCK} "
            f"need {expected} programs, an int"
        )
    for pid, n, BLOCK in ((0, 10, 4), (1, 10, 4), (2, 10, 4), (2, 12, 4), (1, 12, 8)):
        name = f"my_block({pid}, {n}, {BLOCK})"
        result = my_block(pid, n, BLOCK)
        assert isinstance(result, (tuple, list)) and len(result) == 2, (
            f"{name}: expected offsets, mask"
        )
        offsets = [pid * BLOCK + i for i in range(BLOCK)]
        for part, values, wanted in (
            ("offsets, int64", result[0], offsets),
            ("mask, bool", result[1], [o < n for o in offsets]),
        ):
            part, dtype = part.split(", ")
            assert isinstance(values, Tensor), f"{name}: {part} should be a tensor, is {values!r}"
            assert str(values.dtype) == f"torch.{dtype}", f"{name}: {part} are {values.dtype}"
            assert values.tolist() == wanted, f"{name}: {part} {values.tolist()}, expected {wanted}"
    return "every element has exactly one owner, and the last block knows where the data end"


@checker("nb00-2")
def add(add_kernel: Kernel) -> str:
    for n, BLOCK in ((64, 16), (63, 16), (1, 16), (1000, 128)):
        x, y = surrounded(random(n)), surrounded(random(n, seed=1))
        out = Guarded(n)
        with case(f"n={n}, BLOCK={BLOCK}"):
            with like_a_gpu(x=x, y=y, out=(out, STORE_ADVICE)) as traffic:
                add_kernel[(triton.cdiv(n, BLOCK),)](x, y, out.tensor, n, BLOCK=BLOCK)
            assert_matches("out", out.tensor, torch.add, x, y)
            out.check("out")
            _assert_once(traffic, "out", n)
    shown = f"nothing beyond the end was written{_reads()}"
    return f"right for 1, 63, 64 and 1000 elements, and {shown}"


def _assert_once(traffic: Traffic, name: str, n: int) -> None:
    """No two programs stored the same place; known of the interpreter only."""
    assert traffic.stored[name] <= n, (
        f"{name} has {n} element{'s' * (n > 1)}, and {traffic.stored[name]} were stored: "
        "each program writes its own. Where two write the same place, a GPU has a race"
    )


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
        name = (
            f"tile_offsets(pid_m={pid_m}, pid_n={pid_n}, stride_m={stride_m}, stride_n={stride_n}, "
            f"BLOCK_M={BLOCK_M}, BLOCK_N={BLOCK_N})"
        )
        assert isinstance(got, Tensor), f"{name}: expected a tensor, got {got!r}"
        assert got.dtype == torch.int64, f"{name}: expected int64, got {got.dtype}"
        assert got.shape == (BLOCK_M, BLOCK_N), (
            f"{name}: expected shape {(BLOCK_M, BLOCK_N)}, got {tuple(got.shape)}"
        )
        assert got.tolist() == expected, f"{name}: got {got.tolist()}, expected {expected}"
    return "row-major, column-major and strided tiles"


def _grey(rgb: Tensor) -> Tensor:
    return 0.299 * rgb[..., 0] + 0.587 * rgb[..., 1] + 0.114 * rgb[..., 2]


@checker("nb00-4")
def grey(grey_kernel: Kernel) -> str:
    H, W, BLOCK_H, BLOCK_W = 37, 13, 16, 8  # 3 x 2 tiles: program_id(0) is not program_id(1)
    image = random(H, W, 3).abs()
    grid = (triton.cdiv(H, BLOCK_H), triton.cdiv(W, BLOCK_W))
    for layout, strides in (
        ("contiguous", (3 * W, 3, 1)),
        ("transposed", (3, 3 * H, 1)),
        ("colours first", (W, 1, H * W)),
    ):
        for written in ("", ", written transposed"):
            rgb = surrounded(image, strides)
            out = Guarded(W, H) if written else Guarded(H, W)
            grey_out = out.tensor.T if written else out.tensor
            with case(f"a photo that is {layout}{written}"):
                with like_a_gpu(rgb=rgb, grey=(out, _TWO_MASKS)):
                    grey_kernel[grid](
                        rgb,
                        grey_out,
                        *(H, W, *strides, *grey_out.stride()),
                        BLOCK_H=BLOCK_H,
                        BLOCK_W=BLOCK_W,
                    )
                out.check("grey", _TWO_MASKS)
                assert_matches("grey", grey_out, _grey, rgb)
    return "right for three layouts of the photo and two of the result" + _reads()


def _row_max(x: Tensor) -> Tensor:
    return x.amax(1)


@checker("nb00-5")
def row_max(row_max_kernel: Kernel) -> str:
    negative = -random(4, 5).abs() - 1
    negative[0] *= -1
    negative -= torch.tensor([[0.0], [90.0], [60.0], [30.0]])  # the next row is larger
    cases = (
        ("positive numbers", 4, 8, 8, random(4, 8).abs()),
        ("rows of negative numbers", 4, 5, 5, negative),
        ("a slice of a wider matrix", 4, 5, 11, random(4, 5)),
        ("7 rows, two programs of 4", 7, 5, 11, random(7, 5)),
        ("the smallest numbers", 4, 5, 5, -3.3e38 + random(4, 5) * 1e37),
    )
    for name, rows, cols, stride, values in cases:
        # a maximum does not see NaN, so what must not be read is infinite
        x, out = surrounded(values, (stride, 1), math.inf), Guarded(rows)
        grid = (triton.cdiv(rows, 4),)
        with case(name):
            with like_a_gpu(hidden=math.inf, x=x, out=(out, STORE_ADVICE)):
                row_max_kernel[grid](x, out.tensor, rows, cols, stride, BLOCK_R=4, BLOCK_C=8)
            out.check("out")
            assert_matches("out", out.tensor, _row_max, x)
    return "negative rows, slices and a last block that hangs over the edge"


@checker("nb00-6")
def partial_sum(partial_sum_kernel: Kernel) -> str:
    for n, BLOCK in ((64, 16), (63, 16), (1000, 64)):
        programs = triton.cdiv(n, BLOCK)
        x, out = surrounded(random(n)), Guarded(programs)

        def by_blocks(x: Tensor, BLOCK: int = BLOCK) -> Tensor:
            return torch.stack([part.sum() for part in x.split(BLOCK)])

        with case(f"n={n}, BLOCK={BLOCK}"):
            with like_a_gpu(x=x, partial=(out, STORE_ADVICE)) as traffic:
                partial_sum_kernel[(programs,)](x, out.tensor, n, BLOCK=BLOCK)
            _assert_once(traffic, "partial", programs)
            try:
                assert_matches("partial", out.tensor, by_blocks, x)
            except AssertionError as error:
                all_nan = out.tensor.isnan().all()
                more = " Was partial read before it was written?" if all_nan else ""
                raise AssertionError(f"{error}{more}") from None
            out.check("partial")
    own = "each program wrote its own place, and " if prepare().interpreted else ""
    return f"{own}no other value came into its sum"


@checker("nb00-7")
def matmul(matmul_kernel: Kernel) -> str:
    # a large first term and many small ones: an fp16 accumulator loses all the small ones
    tall = torch.full((16, 2048), 0.03)
    tall[:, 0] = 2048.0
    cases = (
        (
            "one tile",
            random(16, 16),
            random(16, 16, seed=1),
            False,
            "Do rows go with stride_am, cols with stride_bn, and k with stride_ak in a and with "
            "stride_bk in b? tl.dot(a, b, acc) returns the new acc: is it kept?",
        ),
        (
            "K in three steps",
            random(16, 48),
            random(48, 16, seed=1),
            False,
            "Is acc kept from one step along K to the next, and does k move on by BLOCK_K?",
        ),
        (
            "ragged K",
            random(16, 50),
            random(50, 16, seed=1),
            False,
            "K is 50 and BLOCK_K is 16: is there a fourth, shorter step, and are the places beyond "
            "K 0 in both tiles (k < K in both masks, other=0.0)?",
        ),
        (
            "edges masked",
            random(33, 50),
            random(50, 21, seed=1),
            False,
            "M and N hang over the edge too: rows < M and cols < N.",
        ),
        (
            "everything transposed",
            random(33, 50),
            random(50, 21, seed=1),
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
        out = Guarded(*((N, M) if transposed else (M, N)), dtype=a.dtype)
        c = out.tensor.T if transposed else out.tensor
        strides = (*a.stride(), *b.stride(), *c.stride())
        # unequal blocks where they show, and K in the steps that the name says
        BLOCK_M, BLOCK_N = (16, 32) if transposed else (16, 16)
        blocks = {"BLOCK_M": BLOCK_M, "BLOCK_N": BLOCK_N, "BLOCK_K": 64 if transposed else 16}
        grid = (triton.cdiv(M, BLOCK_M), triton.cdiv(N, BLOCK_N))
        with case(name):
            with like_a_gpu(a=a, b=b, c=(out, _TWO_MASKS)) as traffic:
                matmul_kernel[grid](a, b, c, M, N, K, *strides, **blocks)
            out.check("c", _TWO_MASKS)
        with case(name, advice):
            assert_matches("c", c, torch.matmul, a, b)
        assert traffic.products or not prepare().interpreted, (
            "right, but without tl.dot: only that uses the units for products of matrices"
        )
    return "any sizes, any strides, and the sum stays fp32"
