"""What can be benchmarked: the ops, their sizes and the implementations that race each other.

An op is one module of ``course.bench.ops``, with one :class:`Op` in it. The command ``course
bench``, the functions of :mod:`course.bench.api` and the report all stand on it. A *case* is a
dictionary with a value for every name of ``Op.sizes``, and ``dtype`` and ``is_causal`` besides.
"""

import difflib
import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

Case = Mapping[str, Any]
Function = Callable[..., Tensor]
Sizes = Mapping[str, tuple[int, ...]]

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_LONG_NAMES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32"}
# the first chip whose tensor cores or copy engine know it
_CHIPS = {"bf16": (8, 0), "fp8": (8, 9), "tma": (9, 0)}
_WORDS = {"bf16": "bfloat16", "fp8": "FP8", "tma": "TMA (tensor descriptors)"}


class UnknownName(ValueError):
    """Something was asked for that does not exist; the message lists what does."""

    def __init__(self, kind: str, got: str, known: Iterable[str]):
        names = sorted(known)
        near = difflib.get_close_matches(got, names, n=1)
        guess = f" Did you mean {near[0]}?" if near else ""
        super().__init__(f"there is no {kind} {got!r}.{guess} There are: {', '.join(names)}")


@dataclass(frozen=True)
class Implementation:
    """One way to compute an op.

    Attributes:
        make: case -> the function to call with the op's inputs. ImportError: it is not here.
        module: the module it lives in, of the packages first on the path; "" means PyTorch.
        needs: "bf16", "fp8" or "tma", what the chip must have besides the case's dtype.
        compiles: its first call compiles for seconds, so it is worth doing beforehand.
        per_shape: it compiles anew for each shape.
        long_only: short inputs take other kernels, or other tiles.
        keeps_graph: its backward pass may run twice over one forward pass.
        dtypes: those it takes; empty means all of the op.
        largest: name of a size -> the largest value that is worth waiting for.
    """

    make: Callable[[Case], Function]
    module: str = ""
    needs: str = ""
    compiles: bool = False
    per_shape: bool = False
    long_only: bool = False
    keeps_graph: bool = True
    dtypes: tuple[str, ...] = ()
    largest: tuple[tuple[str, int], ...] = ()

    def is_here(self) -> bool:
        """Whether its module exists: the instructor's kernels are not in a learner's copy."""
        if not self.module:
            return True
        try:
            return importlib.util.find_spec(self.module) is not None
        except ModuleNotFoundError:
            return False

    def refuses(self, case: Case, chip: tuple[int, int] | None) -> str:
        """Why it cannot run this case on a chip (major, minor; None: interpreted), or ""."""
        if not self.is_here():
            return f"{self.module} is not in this repository"
        if self.dtypes and case["dtype"] not in self.dtypes:
            return f"takes {' or '.join(self.dtypes)}, not {case['dtype']}"
        for size, most in self.largest:
            if case.get(size, 0) > most:
                return f"not timed above {size} {most}: it would take too long"
        for feature in (case["dtype"], self.needs):
            need = _CHIPS.get(feature)
            if need and chip and chip < need:
                have, wanted = (f"sm_{major}{minor}" for major, minor in (chip, need))
                return f"{_WORDS[feature]} needs {wanted} or later; this GPU is {have}"
        return ""


class Op(ABC):
    """An operation with its sizes, its work, its judge, and its implementations by name.

    Attributes:
        sizes: name -> the values tried unless others are asked for.
        dtypes, causal: the choices; the first is the default. ``causal`` empty: no mask.
        passes: what is timed; the first is the default of cheap runs.
        rate: "TFLOP_per_s" or "GB_per_s", the column its speed is reported in.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    sizes: ClassVar[Sizes]
    dtypes: ClassVar[tuple[str, ...]] = ("fp32",)
    causal: ClassVar[tuple[bool, ...]] = ()
    passes: ClassVar[tuple[str, ...]] = ("forward",)
    rate: ClassVar[str] = "TFLOP_per_s"

    @property
    @abstractmethod
    def implementations(self) -> Mapping[str, Implementation]:
        """By name; the first one present is what the others are compared with."""

    @abstractmethod
    def inputs(self, case: Case, device: str) -> tuple[Tensor, ...]:
        """Fresh random inputs."""

    @abstractmethod
    def judge(
        self, case: Case, inputs: tuple[Tensor, ...], passes: Sequence[str]
    ) -> Callable[[str, Function], None]:
        """What raises AssertionError, in words, when results of these passes are wrong.

        The exact result is computed when the judge is first asked, and once for all functions.
        """

    @abstractmethod
    def flops(self, case: Case, what: str) -> float:
        """Floating-point operations of one pass."""

    @abstractmethod
    def moved(self, case: Case, what: str) -> float:
        """Bytes that one pass cannot avoid to read and write."""

    def ceiling(self, case: Case) -> str:
        """Which measured ceiling its products stay under: a dtype, or "tf32"."""
        return case["dtype"]

    def candidate(
        self, what: str, function: Function, inputs: tuple[Tensor, ...], keeps_graph: bool
    ) -> Callable[[], object]:
        """One pass as a function of no arguments."""
        return lambda: function(*inputs)

    def case(self, **values: Any) -> dict[str, Any]:
        """A case: the op's first value where none is given.

        Raises:
            UnknownName: a size, dtype that the op does not have.
        """
        made: dict[str, Any] = {name: some[0] for name, some in self.sizes.items()}
        made["dtype"] = self.dtypes[0]
        if self.causal:
            made["is_causal"] = self.causal[0]
        for name, value in values.items():
            if name not in made:
                raise UnknownName(f"size of {self.name}", name, made)
            made[name] = dtype_name(value, self.dtypes) if name == "dtype" else value
        return made

    def named(self, names: Iterable[str] | None) -> list[str]:
        """Checked names of implementations; without any, all that are here.

        Raises:
            UnknownName: there is no such implementation.
        """
        known = self.implementations
        if not names:
            return [name for name, one in known.items() if one.is_here()]
        chosen = list(dict.fromkeys(names))
        for name in chosen:
            if name not in known:
                raise UnknownName(f"implementation of {self.name}", name, known)
        return chosen


def dtype_name(value: object, known: Iterable[str] = DTYPES) -> str:
    """ "bf16" for "bfloat16" or ``torch.bfloat16``.

    Raises:
        UnknownName: no such dtype, or not among ``known``.
    """
    text = str(value).removeprefix("torch.").lower()
    name = _LONG_NAMES.get(text, text)
    if name not in tuple(known):
        raise UnknownName("dtype", text, known)
    return name


@contextmanager
def float32_products(case: Case) -> Iterator[None]:
    """Products of float32 as the case asks: in TF32 for the dtype "tf32", else exact."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if case["dtype"] == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


_MODULES = {
    "attention": "attention",
    "attention_ladder": "ladder",
    "softmax": "softmax",
    "softmax_matmul": "softmax_matmul",
    "copy": "products",
    "matmul": "products",
}


def op_names() -> list[str]:
    """The ops there are."""
    return list(_MODULES)


def find(name: str) -> Op:
    """The op of that name.

    Raises:
        UnknownName: there is none; the message lists those there are.
    """
    if name not in _MODULES:
        raise UnknownName("op", name, _MODULES)
    module = importlib.import_module(f"course.bench.ops.{_MODULES[name]}")
    return module.OPS[name]
