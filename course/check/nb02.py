"""Checks of notebook 02: each says in words what is wrong, and why it may be."""

from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor

from course.bench.memory import peak_bytes
from course.check import mistakes
from course.check.case import case
from course.check.close import assert_matches
from course.check.columns import Columns
from course.check.counted import assert_counted
from course.check.fresh import Guarded, like_a_gpu, random, surrounded
from course.check.registry import checker
from course.device import prepare

Kernel = Any  # a triton.jit function: launched as kernel[grid](*arguments)


def _rows(d1: int, d2: int) -> Tensor:
    """Far below zero, so that a forgotten maximum or a wrong start shows; one row all equal."""
    x = random(d1, d2) * 10 - 50
    x[-1] = -1000.0
    return x


@checker("nb02-1")
def count(unfused_bytes: Callable, fused_bytes: Callable) -> str:
    for d1, d2, d3, size in ((3, 7, 5, 4), (16, 3, 5, 2), (2048, 8192, 512, 4)):
        x, V, result = size * d1 * d2, size * d2 * d3, size * d1 * d3
        arguments = f"({d1}, {d2}, {d3}, {size})"
        two = {
            "reading x": x,
            "writing P": x,
            "reading P": x,
            "reading V": V,
            "writing the result": result,
        }
        one = {"reading x": x, "reading V": V, "writing the result": result}
        assert_counted(f"unfused_bytes{arguments}", unfused_bytes(d1, d2, d3, size), two, size)
        assert_counted(f"fused_bytes{arguments}", fused_bytes(d1, d2, d3, size), one, size)
    return "P costs two of its own size, and nobody wanted it"


@checker("nb02-2")
def elementwise(scale_shift_relu_kernel: Kernel) -> str:
    for n, a, b in ((64, 2.0, 0.5), (1, -1.0, 3.0), (63, -0.7, -0.1), (1000, 1.5, 0.2)):
        x, y = surrounded(random(n)), Guarded(n)
        with case(f"n={n}, a={a}, b={b}, BLOCK=128"):
            with like_a_gpu(x=x):
                scale_shift_relu_kernel[(triton.cdiv(n, 128),)](x, y.tensor, n, a, b, BLOCK=128)
            assert_matches("y", y.tensor, lambda x, a, b: torch.relu(a * x + b), x, a, b)
            y.check("y")
    return "one load and one store for three operations; 2 n elements moved, not 6 n"


@checker("nb02-3")
def blocks(matmul_by_blocks: Callable) -> str:
    for d1, d2, d3, BLOCK in ((12, 48, 7, 16), (5, 16, 3, 16), (12, 40, 7, 16), (3, 9, 4, 1)):
        P, V = random(d1, d2).softmax(-1), random(d2, d3, seed=1)
        with Columns(P, BLOCK) as taken:
            got = matmul_by_blocks(P, V, BLOCK)
        with case(f"d2={d2}, BLOCK={BLOCK}"):
            assert_matches("P V", got, torch.matmul, P, V)
        assert taken.widest <= BLOCK, (
            f"{taken.widest} columns of P were taken at once; with BLOCK={BLOCK} it may be {BLOCK}"
        )
    return "never more than BLOCK columns of P in hand, also where BLOCK does not divide d2"


@checker("nb02-4")
def one_step(step: Callable) -> str:
    x, V = _rows(6, 40), random(40, 5, seed=1)
    x[0, :8], x[1, 32:] = 20.0, 20.0  # a maximum at the very start, one at the very end
    m, l, acc = torch.full((6, 1), -float("inf")), torch.zeros(6, 1), torch.zeros(6, 5)
    for start, end in ((0, 8), (8, 16), (16, 32), (32, 40)):
        given = [t.clone() for t in (m, l, acc)]
        result = step(m, l, acc, x[:, start:end], V[start:end])
        assert isinstance(result, (tuple, list)) and len(result) == 3, (
            "step should return m, l, acc"
        )
        for name, before, now in zip(("m", "l", "acc"), given, (m, l, acc), strict=True):
            assert torch.equal(before, now), f"step changed the {name} it was given"
        m, l, acc = result
        exact = x[:, :end].amax(-1, keepdim=True)
        with case(f"columns 0 to {end - 1} seen"):
            assert isinstance(m, Tensor) and m.shape == (6, 1), "m should have shape (6, 1)"
            assert torch.equal(m, exact), (
                f"m should be the largest value so far, {_values(exact)}; it is {_values(m)}"
            )
            assert_matches("l", l, _sum, x[:, :end])
            assert_matches("acc", acc, _weighted_sum, x[:, :end], V[:end])
    return "m, l and acc are right after every block, whether it raises the maximum or not"


def _values(t: Tensor) -> str:
    return ", ".join(f"{value:.4g}" for value in t.flatten().tolist())


def _sum(x: Tensor) -> Tensor:
    return torch.exp(x - x.amax(-1, keepdim=True)).sum(-1, keepdim=True)


def _weighted_sum(x: Tensor, V: Tensor) -> Tensor:
    return torch.exp(x - x.amax(-1, keepdim=True)) @ V


@checker("nb02-5")
def whole_pass(one_pass: Callable) -> str:
    for d1, d2, d3, BLOCK in ((3, 16, 4, 16), (3, 64, 4, 16), (5, 1, 4, 16), (4, 63, 3, 16)):
        x, V = _rows(d1, d2), random(d2, d3, seed=1)
        with case(f"d2={d2}, BLOCK={BLOCK}"):
            mistakes.assert_product("the result", one_pass(x, V, BLOCK), x, V)
    x, V = _rows(32, 512), random(512, 4, seed=1)
    x[0, 300] = 1e4
    with case("one huge value"):
        with Columns(x, 32) as taken:
            got = one_pass(x, V, 32)
        mistakes.assert_product("the result", got, x, V)
    assert taken.passes <= 1, (
        f"x was read in {taken.passes} passes, and one is enough: what has been seen of it is in "
        "m, l and acc"
    )
    alive, whole = peak_bytes(lambda: one_pass(x, V, 32), x, V), x.numel() * x.element_size()
    assert alive < whole, (
        f"too much memory was alive: {alive} bytes at once beside x of {whole} bytes. Was "
        "something as large as x made?"
    )
    return f"right for any length, and at most {alive} bytes alive where P would take {whole}"


@checker("nb02-6")
def kernel(fused_kernel: Kernel) -> str:
    # one block of columns first, wider than it is high: a forgotten [:, None] does not fit
    for d1, d2, D3, B1, B2 in ((16, 32, 16, 16, 32), (16, 48, 32, 16, 16), (32, 64, 16, 16, 32)):
        x = _rows(d1, d2)
        x[0, d2 // 2] = 1e4
        x, V, o = surrounded(x), surrounded(random(d2, D3, seed=1)), Guarded(d1, D3)
        before = x.clone()
        columns = "one block of columns" if d2 == B2 else f"{d2 // B2} blocks of columns"
        with case(f"d1={d1}, d2={d2}, D3={D3}, BLOCK_1={B1}, BLOCK_2={B2}, {columns}"):
            with like_a_gpu(x=x, V=V):
                fused_kernel[(d1 // B1,)](x, V, o.tensor, d2, D3=D3, BLOCK_1=B1, BLOCK_2=B2)
            o.check("o")
            assert torch.equal(x, before), "x was changed: is the result stored into it?"
            mistakes.assert_product("o", o.tensor, x, V)
    return "softmax and matmul in one pass, far from zero and with a huge value too"


@checker("nb02-7")
def tile_bytes(tiled_bytes: Callable) -> str:
    for d1, d2, d3, BLOCK_1, size in (
        (64, 8, 2, 16, 4),
        (96, 24, 16, 16, 2),
        (2048, 64, 512, 64, 4),
    ):
        programs = d1 // BLOCK_1
        parts = {
            "reading x": size * d1 * d2,
            "reading V in the first program": size * d2 * d3,
            "reading V in all the other programs": size * (programs - 1) * d2 * d3,
            "writing the result": size * d1 * d3,
        }
        got = tiled_bytes(d1, d2, d3, BLOCK_1, size)
        assert_counted(f"tiled_bytes({d1}, {d2}, {d3}, {BLOCK_1}, {size})", got, parts, size)
    return "V is read d1 / BLOCK_1 times"


@checker("nb02-8")
def peaks(unfused_peak: Callable, fused_peak: Callable, fused: Callable) -> str:
    device = prepare().device
    for d1, d2, d3 in ((32, 128, 16), (64, 64, 32)):
        x, V = random(d1, d2).to(device), random(d2, d3).to(device)
        for name, predict, call in (
            ("unfused_peak", unfused_peak, lambda x=x, V=V: torch.softmax(x, dim=-1) @ V),
            ("fused_peak", fused_peak, lambda x=x, V=V: fused(x, V)),
        ):
            got, measured = predict(d1, d2, d3, 4), peak_bytes(call, x, V)
            assert got == measured, (
                f"{name}({d1}, {d2}, {d3}, 4) predicts {got} bytes; measured on this machine: "
                f"{measured}. One of {d1} x {d2} takes {4 * d1 * d2} bytes, one of {d1} x {d3} "
                f"{4 * d1 * d3}"
            )
    return "your prediction is what this machine measured, to the byte"
