"""Runs one call of student code in this process and writes down what it did."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from course.subject.load import load
from course.subject.reply import Reply
from course.subject.watch import Watch


def call(
    target: str,
    arguments: tuple[Any, ...],
    grad_output: Tensor | None = None,
    noop: str = "",
    matmul_precision: str = "highest",
    compiled: bool = False,
) -> Reply:
    """See :meth:`course.subject.reply.Subject.call`."""
    function = load(target)
    if compiled:
        function = _compiled(function)
    tensors = [a for a in arguments if isinstance(a, Tensor)]
    before = [t.detach().clone() for t in tensors]
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor.detach())
        return tensor

    reply = Reply()
    watch = Watch([*tensors, *([] if grad_output is None else [grad_output])])
    with _surroundings(matmul_precision):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            with watch.phase(noop in ("forward", "both")):
                result = function(*arguments)
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        reply.outputs = [t for t in outputs if isinstance(t, Tensor)]
        # a tensor made an attribute of ctx, which is the output's grad_fn, is kept as well
        for output in reply.outputs:
            kept = getattr(output.grad_fn, "__dict__", {}).values()
            saved += [t.detach() for t in kept if isinstance(t, Tensor)]
        reply.saved, reply.kernels, reply.torch_ops = saved, watch.kernels, watch.ops
        reply.peak_bytes = watch.peak
        reply.loads = [watch.bounds.loaded[t.untyped_storage().data_ptr()] for t in tensors]
        if grad_output is not None:
            with watch.phase(noop in ("backward", "both")):
                _Given.apply(reply.output, grad_output).backward()
            reply.gradients = [t.grad for t in tensors]
            reply.backward_kernels, reply.backward_torch_ops = watch.kernels, watch.ops
            reply.backward_peak_bytes = watch.peak
    reply.outputs = [t.detach() for t in reply.outputs]
    for number, (now, was) in enumerate(zip(tensors, before, strict=True), 1):
        # equal_nan: some inputs hold NaN where nobody may look
        assert torch.allclose(now.detach(), was, rtol=0, atol=0, equal_nan=True), (
            f"input {number} was changed, of shape {tuple(now.shape)}. Is a result stored into it?"
        )
    return reply


class _Given(torch.autograd.Function):
    """A number whose gradient by ``output`` is the very tensor given, strides and all.

    ``output.backward(grad)`` imports sympy to compare their shapes: 0.4 s a process.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, grad: Tensor) -> Tensor:
        if output.shape != grad.shape:
            raise AssertionError(
                f"expected an output of shape {tuple(grad.shape)}, got {tuple(output.shape)}"
            )
        ctx.grad = grad
        return output.new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        return ctx.grad, None


def gradcheck(target: str, arguments: tuple[Any, ...]) -> bool:
    """See :meth:`course.subject.reply.Subject.gradcheck`."""
    function = load(target)
    try:
        return torch.autograd.gradcheck(function, arguments)
    except GradcheckError as error:
        if "Jacobian mismatch" not in str(error):
            raise
        # two whole matrices follow in PyTorch's message
        raise AssertionError(
            "gradcheck: in float64 the gradients differ from finite differences. Is anything "
            "computed in float32, or detached?"
        ) from None


def _compiled(function: Any) -> Any:
    """Through torch.compile; the eager backend, because what is asked is whether it traces."""

    def wrapped(*arguments: Any) -> Any:
        return function(*arguments)

    return torch.compile(wrapped, fullgraph=False, backend="eager")


@contextmanager
def _surroundings(matmul_precision: str) -> Iterator[None]:
    """Fresh memory is filled with NaN, so that what was never written is seen; undone after."""
    precision = torch.get_float32_matmul_precision()
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.set_float32_matmul_precision(matmul_precision)
    # what torch.use_deterministic_algorithms() calls, without its import of the compiler: a second
    torch._C._set_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch._C._set_deterministic_algorithms(deterministic, warn_only=False)
        torch.set_float32_matmul_precision(precision)
