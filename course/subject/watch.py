"""What a call does besides its result: bytes alive, PyTorch arithmetic, kernels launched."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from course.subject.bounds import Bounds, strict

# Operators that allocate, fill, view, copy or look; anything else is arithmetic.
# fmt: off
NOT_ARITHMETIC = frozenset((
    "empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "zeros", "new_zeros",
    "zeros_like", "ones", "ones_like", "full", "new_full", "full_like", "fill_", "zero_", "copy_",
    "clone", "_to_copy", "to", "detach", "alias", "view", "_unsafe_view", "_reshape_alias",
    "reshape", "expand", "permute", "transpose", "t", "unsqueeze", "squeeze", "slice", "select",
    "split", "split_with_sizes", "unfold", "diagonal", "new_ones",
    "unbind", "as_strided", "contiguous", "set_", "lift_fresh", "_local_scalar_dense", "resize_",
))
# fmt: on


class Watch(TorchDispatchMode):
    """Counts live bytes and lists arithmetic done by PyTorch; blind inside kernels.

    ``phase()`` surrounds a piece of work; ``ops``, ``kernels`` and ``peak`` are of the last one.
    """

    def __init__(self, inputs: list[Tensor]) -> None:
        super().__init__()
        self.ops: list[str] = []
        self.kernels: list[str] = []
        self.live = self.peak = 0
        self._start = 0
        self._inside_kernel = False
        self.bounds = Bounds()
        self._known = {t.untyped_storage()._cdata for t in inputs}

    @contextmanager
    def phase(self, noop: bool) -> Iterator["Watch"]:
        """Watch a piece of work; ``noop`` makes its kernels do nothing."""
        self.ops, self.kernels, self.peak, self._start = [], [], 0, self.live
        with _patched_launches(self, noop), strict(self.bounds), self:
            yield self

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping imports torch's compiler: a second of CPU time for nothing

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not self._inside_kernel:
            name = func.overloadpacket.__name__
            if name not in NOT_ARITHMETIC:
                self.ops.append(name)
            for tensor in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(tensor, Tensor):
                    self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._known:
            self._known.add(key)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live - self._start)
            weakref.finalize(storage, self._forget, key, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


@contextmanager
def _patched_launches(watch: Watch, noop: bool) -> Iterator[None]:
    """Note every launch, and let it do nothing when ``noop``.

    Triton's launch hooks never fire under the interpreter, so the launch itself is replaced. An
    autotuned launch is one launch: neither the configurations it tries nor the memory they take are
    the student's.
    """
    # not before the interpreter could be chosen
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    def replace(original: Any) -> Any:
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            if watch._inside_kernel:
                return original(self, *args, **kwargs)
            watch.kernels.append(_name(self))
            if noop:
                return None
            watch._inside_kernel = True
            watch.bounds.launch((*args, *kwargs.values()))
            try:
                return original(self, *args, **kwargs)
            finally:
                watch._inside_kernel = False

        return run

    classes = (Autotuner, JITFunction, InterpretedFunction)
    originals = [c.run for c in classes]
    for c, original in zip(classes, originals, strict=True):
        c.run = replace(original)
    try:
        yield
    finally:
        for c, original in zip(classes, originals, strict=True):
            c.run = original


def _name(kernel: Any) -> str:
    while hasattr(kernel, "fn"):  # an autotuner holds a kernel, which holds a function
        kernel = kernel.fn
    return kernel.__name__
