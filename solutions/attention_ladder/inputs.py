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
            raise ValueError(f"{name}: expected a tensor, got {type(tensor).__name__}")
        if tensor.ndim != 2:
            raise ValueError(f"{name}: expected (seq, d), got shape {tuple(tensor.shape)}")
        if tensor.dtype not in (float32, float16):
            raise ValueError(f"{name}: expected float32 or float16, got {tensor.dtype}")
        if tensor.dtype != q.dtype:
            raise ValueError(f"{name}: expected the dtype of q, {q.dtype}, got {tensor.dtype}")
        if tensor.device != q.device:
            raise ValueError(f"{name}: expected the device of q, {q.device}, got {tensor.device}")
    if q.shape[0] < 1 or not 1 <= q.shape[1] <= MAX_HEAD_DIM:
        raise ValueError(
            f"q: expected a query or more and a head dimension of 1 to {MAX_HEAD_DIM}, "
            f"got shape {tuple(q.shape)}"
        )
    if k.shape[0] < 1 or k.shape[1] != q.shape[1]:
        raise ValueError(
            f"k: expected (seq_k, {q.shape[1]}) to fit q, with a key or more, "
            f"got shape {tuple(k.shape)}"
        )
    if v.shape != k.shape:
        raise ValueError(f"v: expected the shape of k, {tuple(k.shape)}, got {tuple(v.shape)}")
    if runs_kernel and not q.is_cuda and not triton.knobs.runtime.interpret:
        raise ValueError(
            f"q: expected a tensor on the GPU, got one on {q.device}: this process compiles its "
            "kernels (TRITON_INTERPRET=1, set before triton is imported, interprets them instead)"
        )
