"""A copy and a matrix product: what the other ops' rooflines are made of."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from course.bench.harness import as_tensor
from course.bench.registry import (
    DTYPES,
    Case,
    Function,
    Implementation,
    Op,
    Sizes,
    float32_products,
)
from course.check import assert_matches


class Copy(Op):
    name = "copy"
    title = "a copy, read and written once"
    sizes: ClassVar[Sizes] = {"MiB": (1024,)}
    rate = "GB_per_s"
    implementations: Mapping[str, Implementation] = {
        "clone": Implementation(lambda case: torch.clone),
    }

    def inputs(self, case: Case, device: str) -> tuple[Tensor, ...]:
        return (torch.randn(case["MiB"] * 2**18, device=device),)

    def judge(
        self, case: Case, inputs: tuple[Tensor, ...], passes: Sequence[str]
    ) -> Callable[[str, Function], None]:
        def right(name: str, function: Function) -> None:
            assert torch.equal(as_tensor(function(*inputs), name), inputs[0]), "the copy differs"

        return right

    def flops(self, case: Case, what: str) -> float:
        return 0.0

    def moved(self, case: Case, what: str) -> float:
        return 2.0 * case["MiB"] * 2**20


def _cublas(case: Case) -> Function:
    def product(a: Tensor, b: Tensor) -> Tensor:
        with float32_products(case):
            return a @ b

    return product


class Matmul(Op):
    name = "matmul"
    title = "a square matrix product"
    sizes: ClassVar[Sizes] = {"n": (8192,)}
    dtypes = ("bf16", "fp16", "tf32", "fp32")
    implementations: Mapping[str, Implementation] = {"cublas": Implementation(_cublas)}

    def inputs(self, case: Case, device: str) -> tuple[Tensor, ...]:
        dtype = DTYPES.get(case["dtype"], torch.float32)
        n = case["n"]
        return tuple(torch.randn(n, n, dtype=dtype, device=device) for _ in range(2))

    def judge(
        self, case: Case, inputs: tuple[Tensor, ...], passes: Sequence[str]
    ) -> Callable[[str, Function], None]:
        a, b = inputs
        eps = 2.0**-10 if case["dtype"] == "tf32" else None

        def right(name: str, function: Function) -> None:
            got = as_tensor(function(a, b), name)
            with float32_products(case):
                assert_matches("product", got[:64], torch.matmul, a[:64], b, eps=eps)

        return right

    def flops(self, case: Case, what: str) -> float:
        return 2.0 * case["n"] ** 3

    def moved(self, case: Case, what: str) -> float:
        return 3.0 * case["n"] ** 2 * DTYPES.get(case["dtype"], torch.float32).itemsize


OPS: dict[str, Op] = {"copy": Copy(), "matmul": Matmul()}
