"""Student code in this process: what a learner's own ``pytest`` uses."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course.subject import probe
from course.subject.load import load, use
from course.subject.reply import Reply


class Direct:
    """Imports from ``tree`` and calls, with copies of the tensors, as another process has them."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        use(tree)

    def call(self, target: str, *arguments: Any, **settings: Any) -> Reply:
        """See :meth:`course.subject.reply.Subject.call`."""
        use(self.tree)  # another subject of this process may have looked elsewhere since
        settings = {name: _fresh(value) for name, value in settings.items()}
        return probe.call(target, tuple(_fresh(a) for a in arguments), **settings)

    def gradcheck(self, target: str, *arguments: Any) -> bool:
        """See :meth:`course.subject.reply.Subject.gradcheck`."""
        use(self.tree)
        return probe.gradcheck(target, tuple(_fresh(a) for a in arguments))

    def benchmark(self, target: str, scenario: str, **settings: Any) -> dict[str, Any]:
        """See :meth:`course.subject.reply.Subject.benchmark`."""
        from course.bench import scenarios

        use(self.tree)
        return scenarios.run(load(target), scenario, **settings)

    def close(self) -> None:
        """Nothing was started."""


def _fresh(argument: Any) -> Any:
    """A leaf of its own, strides and all: what is done to it must not reach the expected values."""
    if not isinstance(argument, Tensor) or argument.is_meta:
        return argument
    copy = torch.empty(0, dtype=argument.dtype, device=argument.device).set_(
        argument.untyped_storage().clone(),
        argument.storage_offset(),
        argument.shape,
        argument.stride(),
    )
    return copy.requires_grad_(argument.requires_grad)
