"""Memory that shows what a kernel did not write, and what it wrote where it should not."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from course.device import prepare

_ZONE = 8192  # elements on either side: more than one program of an exercise can overrun
_SENTINEL = -12345.0
STORE_ADVICE = "is a mask of tl.store missing or too wide, or an address wrong?"


class nan_memory(TorchFunctionMode):
    """Inside it, ``torch.empty`` and its relatives hand out NaN instead of whatever lay there.

    Deterministic mode does this too, and imports PyTorch's compiler for it: 2 s a process.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if "empty" in func.__name__ and result.is_floating_point():
            result.fill_(float("nan"))
        return result


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers on the CPU, the same each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def surrounded(
    tensor: Tensor, strides: Sequence[int] | None = None, fill: float = math.nan
) -> Tensor:
    """A copy of ``tensor`` on the kernels' device with ``fill`` in all memory around it.

    ``strides`` (elements) lays it out otherwise than row by row; gaps are filled too.
    """
    layout = tensor.contiguous().stride() if strides is None else tuple(strides)
    span = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, layout, strict=True))
    filler = torch.full((span + 2 * _ZONE,), fill, dtype=tensor.dtype)
    view = filler.to(prepare().device).as_strided(tensor.shape, layout, _ZONE)
    return view.copy_(tensor)


@dataclass
class Traffic:
    """What an interpreted kernel did with each fenced tensor, by name; nothing on a GPU.

    ``loaded`` counts an element each time, ``stored`` once for each program that stores it;
    ``widest`` is the size of the largest block that was loaded, masked places included;
    ``products`` are calls of ``tl.dot``.
    """

    loaded: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    widest: Counter[str] = field(default_factory=Counter)
    products: int = 0


@contextmanager
def like_a_gpu(
    hidden: float = math.nan, **fenced: "Tensor | tuple[Guarded, str]"
) -> Iterator[Traffic]:
    """Inside it, the interpreter is as strict as a GPU may be; on a GPU nothing changes.

    A masked place that was loaded without ``other=`` holds ``hidden``, not 0. A fp32 ``tl.dot``
    must not leave it at TF32. No element beside a ``fenced`` tensor made by :func:`surrounded` may
    be read, none beside a :class:`Guarded` output, given with advice for that case, written.

    Raises:
        AssertionError: inside the kernel, so that triton wraps it in its own errors.
    """
    traffic = Traffic()
    if not prepare().interpreted:
        yield traffic
        return
    from triton.runtime.interpreter import InterpreterBuilder  # after prepare() has chosen it

    builder: Any = InterpreterBuilder
    load, store = builder.create_masked_load, builder.create_masked_store
    dot = builder.create_dot
    stored: set[tuple[Any, int]] = set()  # the program, and the address
    inputs = {name: one for name, one in fenced.items() if isinstance(one, Tensor)}
    outputs = {name: one for name, one in fenced.items() if not isinstance(one, Tensor)}

    def strict_load(self: Any, ptrs: Any, mask: Any, other: Any, *rest: Any, **named: Any) -> Any:
        for name, tensor in inputs.items():
            count = _count_inside(name, tensor, ptrs.data[array_of(mask)])
            traffic.loaded[name] += count
            if count:
                traffic.widest[name] = max(traffic.widest[name], ptrs.data.size)
        result = load(self, ptrs, mask, other, *rest, **named)
        return with_hidden(result, mask, other, hidden)

    def strict_store(self: Any, ptrs: Any, value: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        for name, (output, advice) in outputs.items():
            addresses = ptrs.data[array_of(mask)]
            count, beside, after = _places(output.tensor, addresses)
            assert not beside, _beside(name, beside, after, advice)
            if count:
                mine = {(self.grid_idx, address) for address in addresses.flatten().tolist()}
                traffic.stored[name] += len(mine - stored)
                stored.update(mine)
        return store(self, ptrs, value, mask, *rest, **named)

    def strict_dot(self: Any, a: Any, b: Any, d: Any, input_precision: Any, *rest: Any) -> Any:
        assert not (a.dtype.is_fp32() and str(input_precision).upper().endswith(".TF32")), (
            'tl.dot was not asked for input_precision="ieee". The interpreter computes the same '
            "either way; a GPU would round fp32 inputs to TF32"
        )
        traffic.products += 1
        return dot(self, a, b, d, input_precision, *rest)

    builder.create_masked_load, builder.create_masked_store = strict_load, strict_store
    builder.create_dot = strict_dot
    try:
        yield traffic
    finally:
        builder.create_masked_load, builder.create_masked_store = load, store
        builder.create_dot = dot


def array_of(mask: Any) -> np.ndarray:
    """What the interpreter's mask lets through; a descriptor's is an array, others are handles."""
    return (mask if isinstance(mask, np.ndarray) else mask.data).astype(bool)


def with_hidden(result: Any, mask: Any, other: Any, hidden: float = math.nan) -> Any:
    """What the interpreter loaded; ``hidden``, not 0, where a mask hid it and no ``other=`` is."""
    if other is None and result.data.dtype.kind == "f":
        result.data = np.where(array_of(mask), result.data, result.data.dtype.type(hidden))
    return result


def _places(tensor: Tensor, addresses: np.ndarray) -> tuple[int, int, bool]:
    """How many addresses are in ``tensor``, how many in its fence, and whether behind its end."""
    places = (addresses.astype(np.int64) - tensor.data_ptr()) // tensor.element_size()
    end = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    near = places[(places >= -_ZONE) & (places < end + _ZONE)]
    inside = int(((near >= 0) & (near < end)).sum())
    return inside, near.size - inside, bool((near >= end).any())


def _count_inside(name: str, tensor: Tensor, addresses: np.ndarray) -> int:
    """How many addresses are in ``tensor``; none may be in its fence, ``_ZONE`` to either side."""
    count, beside, after = _places(tensor, addresses)
    if beside:
        n = tensor.numel()
        what = f"memory {'beyond the end' if after else 'before the start'} of {name} was read"
        parts = " (join its parts with &, each side in parentheses)"
        if tensor.ndim == 1:
            parts = ""
            places = (addresses.astype(np.int64) - tensor.data_ptr()) // tensor.element_size()
            first = places[(places < 0) | (places >= n)][0]
            what = f"{name}[{first}] was read, but {name} has {n} element{'s' * (n > 1)}"
        raise AssertionError(
            f"{what}. On a GPU that is somebody else's memory: is a mask of tl.load missing or too "
            f"wide{parts}, or an address wrong?"
        )
    return count


def _beside(name: str, count: int, after: bool, advice: str) -> str:
    elements = "1 element" if count == 1 else f"{count} elements"
    side = "beyond the end" if after else "before the start"
    return (
        f"{elements} {side} of {name} {'was' if count == 1 else 'were'} written. On a GPU that is "
        f"somebody else's memory: {advice}"
    )


class Guarded:
    """An output of NaN inside a red zone, which tells afterwards whether the zone was written."""

    def __init__(self, *shape: int, dtype: torch.dtype = torch.float32) -> None:
        self._memory = torch.full(
            (_ZONE + int(torch.Size(shape).numel()) + _ZONE,),
            _SENTINEL,
            dtype=dtype,
            device=prepare().device,
        )
        self.tensor = self._memory[_ZONE:-_ZONE].view(shape).fill_(float("nan"))

    def check(self, name: str, advice: str = STORE_ADVICE) -> None:
        """Fail when anything outside the tensor was written.

        Raises:
            AssertionError: says how many elements, on which side, and ``advice``.
        """
        sentinel = torch.tensor(_SENTINEL, dtype=self._memory.dtype).item()
        before = int((self._memory[:_ZONE] != sentinel).sum())
        after = int((self._memory[-_ZONE:] != sentinel).sum())
        assert not before + after, _beside(name, before + after, bool(after), advice)
