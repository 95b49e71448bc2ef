"""Student code in this process: what a learner's own ``pytest`` uses."""

import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from course.subject import probe
from course.subject.load import load
from course.subject.reply import Reply


class Direct:
    """Imports from ``tree`` and calls; the tensors given are copied, so that a test can go on."""

    def __init__(self, tree: Path) -> None:
        sys.path.insert(0, str(tree))

    def call(self, target: str, *arguments: Any, **settings: Any) -> Reply:
        """See :meth:`course.subject.reply.Subject.call`."""
        return probe.call(target, tuple(_fresh(a) for a in arguments), **settings)

    def gradcheck(self, target: str, *arguments: Any) -> bool:
        """See :meth:`course.subject.reply.Subject.gradcheck`."""
        return probe.gradcheck(target, tuple(_fresh(a) for a in arguments))

    def benchmark(self, target: str, scenario: str, **settings: Any) -> dict[str, Any]:
        """See :meth:`course.subject.reply.Subject.benchmark`."""
        from course.bench import scenarios

        return scenarios.run(load(target), scenario, **settings)

    def close(self) -> None:
        """Nothing was started."""


def _fresh(argument: Any) -> Any:
    """A leaf of its own over the same memory, so that no gradient is left on the test's tensor."""
    if not isinstance(argument, Tensor):
        return argument
    return argument.detach().requires_grad_(argument.requires_grad)
