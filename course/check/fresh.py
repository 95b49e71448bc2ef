"""Memory that shows what a kernel did not write, and what it wrote where it should not."""

from collections.abc import Sequence
from typing import Any

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

    def check(self, name: str) -> None:
        """Fail when anything outside the tensor was written.

        Raises:
            AssertionError: says how many elements, on which side.
        """
        sentinel = torch.tensor(_SENTINEL, dtype=self._memory.dtype).item()
        before = int((self._memory[:_ZONE] != sentinel).sum())
        after = int((self._memory[-_ZONE:] != sentinel).sum())
        assert not before and not after, (
            f"{before + after} elements {'beyond the end' if after else 'before the start'} of "
            f"{name} were written. On a GPU that is somebody else's memory: which mask is missing "
            "from tl.store?"
        )
