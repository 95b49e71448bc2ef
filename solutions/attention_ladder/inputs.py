# course: given
"""What every rung accepts, said in one place."""

import triton
from torch import Tensor, float16, float32

MAX_HEAD_DIM = 256


def check_inputs(q: Tensor, k: Tensor, v: Tensor, runs_kernel: bool = True) -> None:
    """Refuse what the rungs cannot compute.

    Args:
        q: (seq_q, d), float32 or float16, any strides.
        k, v: (seq_k, d), of q's dtype and on q's device.
        runs_kernel: whether the tensors are handed to a Triton kernel.

    Raises:
        ValueError: names the argument and what it got.
    """
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if tensor.ndim != 2:
            raise ValueError(f"{name} must have shape (seq, d), got {tuple(tensor.shape)}")
        if tensor.dtype not in (float32, float16):
            raise ValueError(f"{name} must be float32 or float16, got {tensor.dtype}")
        if tensor.dtype != q.dtype:
            raise ValueError(f"{name} must have q's dtype {q.dtype}, got {tensor.dtype}")
        if tensor.device != q.device:
            raise ValueError(f"{name} must be on q's device {q.device}, got {tensor.device}")
    if not 1 <= q.shape[1] <= MAX_HEAD_DIM:
        raise ValueError(f"q must have a head dimension of 1 to {MAX_HEAD_DIM}, got {q.shape[1]}")
    if k.shape[0] < 1 or k.shape[1] != q.shape[1]:
        raise ValueError(
            f"k must have shape (seq_k, {q.shape[1]}) with at least one key, got {tuple(k.shape)}"
        )
    if v.shape != k.shape:
        raise ValueError(f"v must have k's shape {tuple(k.shape)}, got {tuple(v.shape)}")
    if runs_kernel and not q.is_cuda and not triton.knobs.runtime.interpret:
        raise ValueError(
            f"q must be on a GPU, got {q.device}: this process compiles its kernels "
            "(TRITON_INTERPRET=1, set before triton is imported, interprets them on the CPU)"
        )
