"""Which columns of a matrix PyTorch works on, and how often it has to fetch them."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from course.subject.watch import NOT_ARITHMETIC

_PICKS = frozenset(("index", "index_select", "gather"))  # x[:, columns]: takes what it returns
_COPIES = frozenset(("cat", "constant_pad_nd", "flip"))


class Columns(TorchDispatchMode):
    """Inside it, notes what each operation takes of ``matrix``, as if a chip held a block of it.

    Operations on copies are not seen, but for products: those say themselves how much they add up.

    Args:
        matrix: (rows, columns), contiguous.
        block: how many columns the chip holds: what it has not seen for longer is fetched again.

    Attributes:
        widest: how many columns one operation took, at most.
    """

    def __init__(self, matrix: Tensor, block: int) -> None:
        super().__init__()
        self.widest = 0
        self._storage, self._width = matrix.untyped_storage()._cdata, matrix.shape[1]
        self._room = matrix.shape[0] * block
        self._held: OrderedDict[int, None] = OrderedDict()
        self._fetched = torch.zeros(matrix.numel(), dtype=torch.int64)

    @property
    def passes(self) -> int:
        """How often the element that was fetched most often was fetched."""
        return int(self._fetched.max())

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping imports torch's compiler: a second of CPU time for nothing

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        tensors = [a for a in args if isinstance(a, Tensor)]
        if name not in NOT_ARITHMETIC | _COPIES:
            for t in tensors:
                if t.numel() and t.untyped_storage()._cdata == self._storage:
                    places = self._places(t)
                    if name in _PICKS:
                        places = func(places, *args[1:], **(kwargs or {}))
                    self._take(places)
        if name in ("mm", "bmm", "addmm", "baddbmm") and len(tensors) > 1:
            self.widest = max(self.widest, tensors[-1].shape[-2])
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _places(t: Tensor) -> Tensor:
        """Where each element of ``t`` lies in the matrix."""
        span = 1 + sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True))
        memory = int(t.storage_offset()) + torch.arange(int(span))
        return memory.as_strided(t.shape, t.stride())

    def _take(self, places: Tensor) -> None:
        taken = sorted(set(places.flatten().tolist()))
        self.widest = max(self.widest, len({place % self._width for place in taken}))
        for place in taken:
            if place in self._held:
                self._held.move_to_end(place)
                continue
            self._fetched[place] += 1
            self._held[place] = None
        while len(self._held) > self._room:
            self._held.popitem(last=False)
