"""What the checks of notebook 05 launch its kernels with: inputs between NaN."""

from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from course.check import fresh

BATCH, HEAD_DIM = 2, 16


def random(*shape: int, seed: int) -> Tensor:
    """Normal numbers, float32, on the kernels' device."""
    return fresh.surrounded(fresh.random(*shape, seed=seed))


def inputs(seq: int, count: int = 3) -> list[Tensor]:
    """Q, K, V, and dO where ``count`` is 4; (BATCH, seq, HEAD_DIM)."""
    return [random(BATCH, seq, HEAD_DIM, seed=seed) for seed in range(count)]


def condition(L: Tensor) -> float:
    """Rounding of scores and of L comes back through the exponential, times their size."""
    return max(1.0, L.abs().max().item())


def describe(x: Tensor, BLOCK: int) -> TensorDescriptor:
    """A descriptor of x (batch, seq, d), BLOCK rows at a time."""
    return TensorDescriptor.from_tensor(x, [1, BLOCK, x.shape[-1]])
