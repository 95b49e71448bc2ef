"""How much memory a call needs at its peak."""

from collections.abc import Callable

import torch
from torch import Tensor

from course.subject.watch import Watch


def peak_bytes(call: Callable[[], object], *inputs: Tensor) -> int:
    """The most bytes ``call()`` has allocated at once; what was there before does not count.

    On a GPU the caching allocator is asked, after one call to let libraries take their workspaces.
    On the CPU the tensors PyTorch makes are added up while they live; what Triton's interpreter
    uses for itself is not a kernel's memory and is left out.

    Args:
        inputs: the tensors ``call`` works on; they say which device is meant.
    """
    if any(t.is_cuda for t in inputs):
        call()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    watch = Watch(list(inputs))
    with watch.phase(noop=False):
        call()
    return watch.peak
