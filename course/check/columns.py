"""Which columns of a matrix PyTorch works on, and whether it comes back to any."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from course.subject.watch import NOT_ARITHMETIC


class Columns(TorchDispatchMode):
    """Inside it, notes the columns of ``matrix`` that each operation takes.

    Operations on copies are not seen, but for products: those say themselves how much they add up.

    Args:
        matrix: (rows, columns), contiguous.

    Attributes:
        widest: how many columns one operation took, at most.
        again: the first columns, (first, last), taken again after others had been; or None.
    """

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.widest = 0
        self.again: tuple[int, int] | None = None
        self._storage, self._width = matrix.untyped_storage()._cdata, matrix.shape[1]
        self._taken: set[int] = set()
        self._block: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping imports torch's compiler: a second of CPU time for nothing

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        tensors = [a for a in args if isinstance(a, Tensor)]
        if name not in NOT_ARITHMETIC:
            for t in tensors:
                if t.numel() and t.untyped_storage()._cdata == self._storage:
                    self._take(t)
        if name in ("mm", "bmm", "addmm", "baddbmm") and len(tensors) > 1:
            self.widest = max(self.widest, tensors[-1].shape[-2])
        return func(*args, **(kwargs or {}))

    def _take(self, t: Tensor) -> None:
        span = 1 + sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True))
        places = int(t.storage_offset()) + torch.arange(int(span))
        block = set((places.as_strided(t.shape, t.stride()) % self._width).flatten().tolist())
        self.widest = max(self.widest, len(block))
        if block != self._block and block & self._taken and self.again is None:
            self.again = min(block), max(block)
        self._block = block
        self._taken |= block
