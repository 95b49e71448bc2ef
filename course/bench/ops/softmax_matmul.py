"""softmax(x) @ V in one kernel or two; x (batch, d1, d2), V (batch, d2, d3), float32.

The dtype "tf32" is float32 whose products may be TF32; "fp32" keeps them exact (IEEE).
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

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
from course.oracle.softmax import softmax_matmul

BLOCKS = (16, 32, 64)
_OURS = "softmax_matmul.softmax_matmul"
_FAST = "softmax_matmul.fast"


def _with_precision(case: Case, function: Callable[..., Tensor], *more: int) -> Function:
    def call(x: Tensor, V: Tensor) -> Tensor:
        with float32_products(case):
            return function(x, V, *more)

    return call


def _fused(block: int) -> Implementation:
    def make(case: Case) -> Function:
        module: Any = importlib.import_module(_OURS)
        return _with_precision(case, module.fused_softmax, block, block)

    return Implementation(make, module=_OURS, compiles=True)


def _fast(case: Case) -> Function:
    module: Any = importlib.import_module(_FAST)
    return _with_precision(case, module.fast_softmax_matmul)


class SoftmaxMatmul(Op):
    name = "softmax_matmul"
    title = "softmax(x) @ V"
    sizes: ClassVar[Sizes] = {"batch": (16,), "d1": (2048,), "d2": (512, 2048, 8192), "d3": (512,)}
    # "tf32" is float32 with products in TF32
    dtypes = ("fp32", "tf32", "fp16", "bf16")
    implementations: Mapping[str, Implementation] = {
        "fast": Implementation(_fast, module=_FAST, compiles=True),
        **{f"fused_{block}": _fused(block) for block in BLOCKS},
        "torch": Implementation(lambda case: _with_precision(case, softmax_matmul)),
    }

    def inputs(self, case: Case, device: str) -> tuple[Tensor, ...]:
        dtype = DTYPES.get(case["dtype"], torch.float32)
        x = torch.randn(case["batch"], case["d1"], case["d2"], dtype=dtype, device=device)
        return x, torch.randn(case["batch"], case["d2"], case["d3"], dtype=dtype, device=device)

    def judge(
        self, case: Case, inputs: tuple[Tensor, ...], passes: Sequence[str]
    ) -> Callable[[str, Function], None]:
        x, V = inputs
        eps = 2.0**-10 if case["dtype"] == "tf32" else None
        # the denominators are sums of that many terms
        condition = math.sqrt(case["d2"]) if case["dtype"] == "fp32" else 1.0

        def right(name: str, function: Function) -> None:
            got = as_tensor(function(x, V), name)
            assert got.shape == (*x.shape[:2], V.shape[2]), f"shape {tuple(got.shape)} is wrong"
            with float32_products(case):
                for one in (0, -1):
                    assert_matches(
                        "out",
                        got[one],
                        softmax_matmul,
                        x[one],
                        V[one],
                        eps=eps,
                        condition=condition,
                    )

        return right

    def flops(self, case: Case, what: str) -> float:
        return 2.0 * case["batch"] * case["d1"] * case["d2"] * case["d3"]

    def moved(self, case: Case, what: str) -> float:
        batch, d1, d2, d3 = (case[name] for name in ("batch", "d1", "d2", "d3"))
        itemsize = DTYPES.get(case["dtype"], torch.float32).itemsize
        return batch * (d1 * d2 + d2 * d3 + d1 * d3) * itemsize


OPS = {"softmax_matmul": SoftmaxMatmul()}
