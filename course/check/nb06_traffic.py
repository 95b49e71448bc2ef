"""What the interpreter sees a kernel do: bytes loaded and stored, arithmetic on whole tiles."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from course.device import prepare

_COUNTED = (
    *("create_exp", "create_exp2", "create_fmul", "create_fdiv", "create_fma", "create_fsub"),
    "create_select",
)


def bytes_asked_for(function: Callable[[], object]) -> tuple[int, int] | None:
    """Bytes that the kernels of ``function()`` load and store, places that a mask hides left out.

    Returns:
        loaded, stored; None where kernels are compiled, because then nobody counts.
    """
    if not prepare().interpreted:
        return None
    from triton.runtime.interpreter import InterpreterBuilder  # after prepare() has chosen it

    builder: Any = InterpreterBuilder
    load, store = builder.create_masked_load, builder.create_masked_store
    moved = [0, 0]

    def size(pointers: Any, mask: Any) -> int:
        return int(np.sum(mask.data)) * max(1, pointers.get_element_ty().primitive_bitwidth // 8)

    def counted_load(self: Any, pointers: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        moved[0] += size(pointers, mask)
        return load(self, pointers, mask, *rest, **named)

    def counted_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        moved[1] += size(pointers, mask)
        return store(self, pointers, value, mask, *rest)

    builder.create_masked_load, builder.create_masked_store = counted_load, counted_store
    try:
        function()
    finally:
        builder.create_masked_load, builder.create_masked_store = load, store
    return moved[0], moved[1]


@contextmanager
def arithmetic(shape: tuple[int, ...]) -> Iterator[Counter[str] | None]:
    """Count exp, exp2, fmul, fdiv, fma, fsub and select (``tl.where``) on tiles of ``shape``.

    The order is that of their first. It takes kernels that are interpreted.

    Yields the counts, or None where kernels are compiled.
    """
    if not prepare().interpreted:
        yield None
        return
    from triton.runtime.interpreter import InterpreterBuilder  # after prepare() has chosen it

    builder: Any = InterpreterBuilder
    own = {name: getattr(builder, name) for name in _COUNTED}
    counts: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., Any]:
        def counted(self: Any, *handles: Any) -> Any:
            result = own[name](self, *handles)
            if result.data.shape == shape:
                counts[name.removeprefix("create_")] += 1
            return result

        return counted

    for name in _COUNTED:
        setattr(builder, name, counting(name))
    try:
        yield counts
    finally:
        for name, function in own.items():
            setattr(builder, name, function)


@contextmanager
def products() -> Iterator[list[tuple[str, str]] | None]:
    """Which types each ``tl.dot`` multiplies while kernels are interpreted: ("fp16", "fp16").

    Yields a list that grows, or None where kernels are compiled.
    """
    if not prepare().interpreted:
        yield None
        return
    from triton.runtime.interpreter import InterpreterBuilder  # after prepare() has chosen it

    builder: Any = InterpreterBuilder
    own, found = builder.create_dot, []

    def noted(self: Any, a: Any, b: Any, *rest: Any, **named: Any) -> Any:
        found.append((str(a.dtype.scalar), str(b.dtype.scalar)))
        return own(self, a, b, *rest, **named)

    builder.create_dot = noted
    try:
        yield found
    finally:
        builder.create_dot = own
