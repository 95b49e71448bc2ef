"""What can be asked of student code, and what comes back."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor


class StudentError(Exception):
    """Student code could not be called or did not finish; the text is meant for the student."""


@dataclass
class Reply:
    """What one call did.

    Attributes:
        outputs: the tensors returned.
        gradients: one for each tensor argument that asked for it, else None, in argument order.
        saved: tensors autograd kept for the backward pass.
        kernels: names of the Triton kernels launched, in order.
        torch_ops: arithmetic PyTorch did (allocations, views and copies are not listed).
        peak_bytes: the most bytes alive at once, allocated by the call and not freed.
        loads: elements that interpreted kernels loaded of each tensor argument, forward.
    ``kernels``, ``torch_ops`` and ``peak_bytes`` again, with ``backward_``, for the backward pass,
    bytes counted from its start.
    """

    outputs: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor | None] = field(default_factory=list)
    saved: list[Tensor] = field(default_factory=list)
    kernels: list[str] = field(default_factory=list)
    torch_ops: list[str] = field(default_factory=list)
    peak_bytes: int = 0
    loads: list[int] = field(default_factory=list)
    backward_kernels: list[str] = field(default_factory=list)
    backward_torch_ops: list[str] = field(default_factory=list)
    backward_peak_bytes: int = 0

    @property
    def output(self) -> Tensor:
        """The first tensor returned."""
        if not self.outputs:
            raise AssertionError("nothing was returned; a tensor was expected")
        return self.outputs[0]


class Subject(Protocol):
    """Student code, wherever it runs."""

    def call(
        self,
        target: str,
        *arguments: Any,
        grad_output: Tensor | None = None,
        noop: str = "",
        matmul_precision: str = "highest",
        compiled: bool = False,
    ) -> Reply:
        """Call ``target`` ("package.module:name" or "package.module:Class.apply").

        Args:
            arguments: tensors, dtypes, numbers, strings, booleans or None.
            grad_output: run the backward pass too, with this gradient of the first output.
            noop: make kernels do nothing in the "forward", the "backward" or "both".
            matmul_precision: ``torch.set_float32_matmul_precision`` for the call.
            compiled: call it through ``torch.compile(fullgraph=False)``.

        Raises:
            StudentError: the module does not import, has no such name, or did not finish.
            Exception: whatever the called function raised.
        """
        ...

    def gradcheck(self, target: str, *arguments: Any) -> bool:
        """``torch.autograd.gradcheck`` of ``target`` (float64 tensors); its error is raised."""
        ...

    def benchmark(self, target: str, scenario: str, **settings: Any) -> dict[str, Any]:
        """Run a benchmark the student wrote with an injected clock; see course.bench.scenarios."""
        ...

    def close(self) -> None:
        """End whatever was started."""
        ...
