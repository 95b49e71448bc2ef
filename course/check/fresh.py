"""Memory that shows what a kernel did not write, and what it wrote where it should not."""

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


class nan_memory(TorchFunctionMode):
    """Inside it, ``torch.empty`` and its relatives hand out NaN instead of whatever lay there.

    Deterministic mode does this too, and imports PyTorch's compiler for it: 2 s a process.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if "empty" in func.__name__ and result.is_floating_point():
            result.fill_(float("nan"))
        return result


def surrounded(tensor: Tensor, strides: Sequence[int] | None = None) -> Tensor:
    """A copy of ``tensor`` on the kernels' device with NaN in all memory around it.

    ``strides`` (elements) lays it out otherwise than row by row; gaps hold NaN too.
    """
    layout = tensor.contiguous().stride() if strides is None else tuple(strides)
    span = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, layout, strict=True))
    filler = torch.full((span + 2 * _ZONE,), float("nan"), dtype=tensor.dtype)
    view = filler.to(prepare().device).as_strided(tensor.shape, layout, _ZONE)
    return view.copy_(tensor)


@dataclass
class Loads:
    """What an interpreted kernel loaded of each fenced tensor, by name; nothing on a GPU.

    ``elements`` counts an element each time it is loaded, ``widest`` is the size of the largest
    block, masked places included.
    """

    elements: Counter[str] = field(default_factory=Counter)
    widest: Counter[str] = field(default_factory=Counter)


@contextmanager
def like_a_gpu(**fenced: Tensor) -> Iterator[Loads]:
    """Inside it, the interpreter is as strict as a GPU may be; on a GPU nothing changes.

    A masked place that was loaded without ``other=`` holds NaN, not 0. A fp32 ``tl.dot`` must ask
    for "ieee". No element beside the ``fenced`` tensors, made by :func:`surrounded`, may be read.

    Raises:
        AssertionError: inside the kernel, so that triton wraps it in its own errors.
    """
    loads = Loads()
    if not prepare().interpreted:
        yield loads
        return
    from triton.runtime.interpreter import InterpreterBuilder  # after prepare() has chosen it

    load, dot = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_dot

    def strict_load(self: Any, ptrs: Any, mask: Any, other: Any, *rest: Any, **named: Any) -> Any:
        for name, tensor in fenced.items():
            count = _count_inside(name, tensor, ptrs.data[array_of(mask)])
            loads.elements[name] += count
            if count:
                loads.widest[name] = max(loads.widest[name], ptrs.data.size)
        return hidden_is_nan(load(self, ptrs, mask, other, *rest, **named), mask, other)

    def strict_dot(self: Any, a: Any, b: Any, d: Any, input_precision: Any, *rest: Any) -> Any:
        assert not a.dtype.is_fp32() or "IEEE" in str(input_precision).upper(), (
            'tl.dot was not asked for input_precision="ieee". The interpreter computes the same '
            "either way; a GPU would round fp32 inputs to TF32"
        )
        return dot(self, a, b, d, input_precision, *rest)

    InterpreterBuilder.create_masked_load = strict_load
    InterpreterBuilder.create_dot = strict_dot
    try:
        yield loads
    finally:
        InterpreterBuilder.create_masked_load, InterpreterBuilder.create_dot = load, dot


def array_of(mask: Any) -> np.ndarray:
    """What the interpreter's mask lets through; a descriptor's is an array, others are handles."""
    return (mask if isinstance(mask, np.ndarray) else mask.data).astype(bool)


def hidden_is_nan(result: Any, mask: Any, other: Any) -> Any:
    """What the interpreter loaded, NaN instead of 0 where it was masked without ``other=``."""
    if other is None and result.data.dtype.kind == "f":
        result.data = np.where(array_of(mask), result.data, result.data.dtype.type("nan"))
    return result


def _count_inside(name: str, tensor: Tensor, addresses: np.ndarray) -> int:
    """How many addresses are in ``tensor``; none may be in its fence, ``_ZONE`` to either side."""
    places = (addresses.astype(np.int64) - tensor.data_ptr()) // tensor.element_size()
    end = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    near = places[(places >= -_ZONE) & (places < end + _ZONE)]
    beside = near[(near < 0) | (near >= end)]
    if beside.size:
        n, first = tensor.numel(), int(beside[0])
        what = f"{name}[{first}] was read, but {name} has {n} element{'s' * (n > 1)}"
        if tensor.ndim > 1:
            side = "before the start" if first < 0 else "beyond the end"
            what = f"memory {side} of {name} was read"
        raise AssertionError(
            f"{what}. On a GPU that is somebody else's memory: which mask is missing from tl.load?"
        )
    return near.size


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

    def check(self, name: str, advice: str = "which mask is missing from tl.store?") -> None:
        """Fail when anything outside the tensor was written.

        Raises:
            AssertionError: says how many elements, on which side, and ``advice``.
        """
        sentinel = torch.tensor(_SENTINEL, dtype=self._memory.dtype).item()
        before = int((self._memory[:_ZONE] != sentinel).sum())
        after = int((self._memory[-_ZONE:] != sentinel).sum())
        count = before + after
        elements = "1 element" if count == 1 else f"{count} elements"
        side = "beyond the end" if after else "before the start"
        assert not count, (
            f"{elements} {side} of {name} {'was' if count == 1 else 'were'} written. On a GPU that "
            f"is somebody else's memory: {advice}"
        )
