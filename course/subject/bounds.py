"""An interpreted kernel that does what only a GPU would punish stops, and is told so.

Where it reads or writes outside its tensors, a GPU gives whatever lies there, or ends the program;
interpreted, it could corrupt this process, which then hangs or dies later, somewhere else. Where it
multiplies float32 without a word about precision, a GPU rounds to TF32.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from course.check.fresh import array_of, with_hidden


class Bounds:
    """Where the tensors of the launch lie that is running, and how much of each was loaded.

    Attributes:
        loaded: address of a tensor's storage -> elements loaded from it, in all launches.
    """

    def __init__(self) -> None:
        self.loaded: Counter[int] = Counter()
        self._ranges: list[tuple[int, int]] = []

    def launch(self, arguments: tuple[Any, ...]) -> None:
        """Take note of what a kernel was given; on a GPU there are no addresses to compare."""
        self._ranges = []
        given = [getattr(one, "base", one) for one in arguments]  # a tensor descriptor has a base
        tensors = [one for one in given if isinstance(one, torch.Tensor)]
        if all(t.device.type == "cpu" for t in tensors):
            for storage in (t.untyped_storage() for t in tensors):
                start = storage.data_ptr()
                self._ranges.append((start, start + storage.nbytes()))

    def load(self, ptrs: Any, mask: Any) -> None:
        """Count the elements, after :meth:`check`."""
        start, count = self.check("tl.load reads", ptrs, mask)
        self.loaded[start] += count

    def check(self, what: str, ptrs: Any, mask: Any) -> tuple[int, int]:
        """Fail unless all addresses that the mask lets through are in one tensor.

        Returns:
            Where its storage starts, and how many addresses there were.

        Raises:
            AssertionError: inside the kernel, so that triton wraps it in its own errors.
        """
        addresses = ptrs.data[array_of(mask)]
        if not addresses.size or not self._ranges:
            return 0, 0
        first, last = int(addresses.min()), int(addresses.max())
        within = [start for start, end in self._ranges if start <= first and last < end]
        assert within, (
            f"{what} memory that belongs to no tensor of the kernel: is a mask missing or too "
            "wide, or a stride wrong?"
        )
        return within[0], addresses.size


def _loses_bits(values: Any) -> bool:
    """Whether TF32, with 13 bits less of the fraction, would round any of them."""
    return bool((values.data.view(np.uint32) & 0x1FFF).any())


@contextmanager
def strict(bounds: Bounds) -> Iterator[None]:
    """Inside it addresses are checked, what a mask hides is NaN unless ``other=`` is given, and a
    float32 ``tl.dot`` may use TF32 only where PyTorch may."""
    from triton.runtime.interpreter import InterpreterBuilder  # after the interpreter was chosen

    builder: Any = InterpreterBuilder
    load, store = builder.create_masked_load, builder.create_masked_store
    dot = builder.create_dot

    def strict_load(self: Any, ptrs: Any, mask: Any, other: Any, *rest: Any, **named: Any) -> Any:
        bounds.load(ptrs, mask)
        return with_hidden(load(self, ptrs, mask, other, *rest, **named), mask, other)

    def strict_store(self: Any, ptrs: Any, value: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        bounds.check("tl.store writes", ptrs, mask)
        return store(self, ptrs, value, mask, *rest, **named)

    def strict_dot(self: Any, a: Any, b: Any, d: Any, input_precision: Any, *rest: Any) -> Any:
        tf32 = a.dtype.is_fp32() and str(input_precision).upper().endswith(".TF32")
        rounds = tf32 and torch.get_float32_matmul_precision() == "highest"
        # whoever splits numbers into parts for TF32 has one factor that is exact in it
        assert not (rounds and _loses_bits(a) and _loses_bits(b)), (
            "a tl.dot of float32 was not told its input_precision, or was told tf32. On a GPU it "
            "would round its inputs to TF32, an error of 1e-3: pass it PRECISION, or ieee"
        )
        return dot(self, a, b, d, input_precision, *rest)

    builder.create_masked_load, builder.create_masked_store = strict_load, strict_store
    builder.create_dot = strict_dot
    try:
        yield
    finally:
        builder.create_masked_load, builder.create_masked_store = load, store
        builder.create_dot = dot
